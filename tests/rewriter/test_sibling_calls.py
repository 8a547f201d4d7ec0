"""Sibling calls: exactly those that kpatch refuses, with the line they come from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nopfix.rewriter.kpatch import sibling_calls, source_lines
from nopfix.rewriter.object import elf

GCC = shutil.which("powerpc64le-linux-gnu-gcc")
OBJDUMP = shutil.which("powerpc64le-linux-gnu-objdump")
ADDR2LINE = shutil.which("powerpc64le-linux-gnu-addr2line")

pytestmark = pytest.mark.skipif(GCC is None, reason="powerpc64le-linux-gnu-gcc is not installed")

SOURCE = """\
int unknown(int);
int __attribute__((noipa)) outside(int x) { return unknown(x) + 2; }
static __attribute__((noinline)) int local(int x) { return x * x + outside(x); }
int tail(int x)
{
\tif (x > 3)
\t\treturn outside(x + 1);
\treturn local(x);
}
int call(int x) { return outside(x) + 1; }
int loop(int x) { for (;;) asm volatile("" : "+r"(x)); }
int cold(int x) { if (__builtin_expect(x, 0)) { outside(1); outside(2); } return x; }
int pointer(int (*p)(int)) { return p(1); }
"""


def compile_source(tmp_path: Path, *flags: str) -> bytes:
    assert GCC is not None
    (tmp_path / "s.c").write_text(SOURCE)
    command = [GCC, "-O2", "-fno-pie", "-c", *flags, "s.c", "-o", "s.o"]
    subprocess.run(command, cwd=tmp_path, check=True)
    return (tmp_path / "s.o").read_bytes()


def kpatch_refuses(path: Path) -> set[str]:
    """Functions with a ``b`` to itself that carries a relocation, by objdump."""
    assert OBJDUMP is not None
    shown = subprocess.run(
        [OBJDUMP, "-dr", str(path)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    found, function = set(), ""
    for line, following in zip(shown, [*shown[1:], ""], strict=True):
        if line.endswith(">:"):
            function = line.split("<")[1][:-2]
        if "\t00 00 00 48 \tb " in line and "R_PPC64" in following:
            found.add(function)
    return found


@pytest.mark.parametrize("flags", [[], ["-mcmodel=large"], ["-Os"], ["-O1"]])
def test_with_function_sections_it_is_what_kpatch_refuses(tmp_path: Path, flags: list[str]) -> None:
    obj = elf.read(compile_source(tmp_path, "-ffunction-sections", *flags))
    found = {call.function for call in sibling_calls.find(obj)}
    assert found == kpatch_refuses(tmp_path / "s.o")
    assert ("tail" in found) is (flags != ["-O1"])


def test_calls_that_the_assembler_resolved_count_too(tmp_path: Path) -> None:
    split = elf.read(compile_source(tmp_path, "-ffunction-sections", "-fno-toplevel-reorder"))
    whole = elf.read(compile_source(tmp_path, "-fno-toplevel-reorder"))
    assert [(c.function, c.distance, c.callee) for c in sibling_calls.find(split)] == [
        (c.function, c.distance, c.callee) for c in sibling_calls.find(whole)
    ]


@pytest.mark.parametrize(
    "debug",
    ["-gdwarf-2", "-gdwarf-3", "-gdwarf-4", "-gdwarf-5", "-gdwarf64 -gdwarf-5"]
    + ["-gdwarf-4 -ffunction-sections", "-gdwarf-5 -ffunction-sections -mcmodel=large"]
    + ["-gdwarf-4 -gz", "-gdwarf-5 -gz", "-g -gz=zlib-gnu", "-g -gsplit-dwarf"],
)
def test_the_message_names_file_and_line(tmp_path: Path, debug: str) -> None:
    lines = sibling_calls.describe(compile_source(tmp_path, *debug.split()))
    assert any(line.startswith("s.c:7: sibling call at tail()+") for line in lines)
    assert any(line.startswith("s.c:8: sibling call at tail()+") for line in lines)
    assert any("to outside" in line for line in lines)
    assert any("to local" in line for line in lines)


@pytest.mark.parametrize("debug", ["-gdwarf-4", "-gdwarf-5"])
def test_a_call_in_an_inlined_function_has_its_own_line(tmp_path: Path, debug: str) -> None:
    assert GCC is not None
    (tmp_path / "i.h").write_text("static inline int inlined(int x)\n{\n\treturn far(x + 1);\n}\n")
    (tmp_path / "i.c").write_text(
        "int __attribute__((noipa)) far(int x) { return x * 3; }\n"
        '#include "i.h"\nint caller(int x) { return inlined(x * 5); }\n'
    )
    subprocess.run([GCC, "-O2", "-fno-pie", debug, "-c", "i.c"], cwd=tmp_path, check=True)
    (line,) = sibling_calls.describe((tmp_path / "i.o").read_bytes())
    assert line.startswith("i.h:3: sibling call at caller()+")


def test_without_debug_information_the_section_stands_for_the_line(tmp_path: Path) -> None:
    lines = sibling_calls.describe(compile_source(tmp_path, "-ffunction-sections"))
    assert any(line.startswith(".text.tail: sibling call at tail()+") for line in lines)


@pytest.mark.parametrize("debug", ["-gdwarf-4", "-gdwarf-5"])
def test_lines_are_those_of_addr2line(tmp_path: Path, debug: str) -> None:
    assert ADDR2LINE is not None
    obj = elf.read(compile_source(tmp_path, debug, "-gno-as-loc-support"))
    code = next(s for s in obj.sections if s.name == ".text")
    places = range(0, code.size & ~3, 4)
    found = source_lines.find(obj, {(code.number, place) for place in places})
    answers = subprocess.run(
        [ADDR2LINE, "-e", "s.o", "-j", ".text", *(hex(place) for place in places)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    theirs = [answer.split(" ")[0].rpartition("/")[2] for answer in answers]
    mine = [found.get((code.number, place), "??:0") for place in places]
    known = [(a, b) for a, b in zip(mine, theirs, strict=True) if "?" not in b]
    assert len(known) > 20
    assert [a for a, _ in known] == [b for _, b in known]


def test_a_damaged_line_table_costs_only_the_line(tmp_path: Path) -> None:
    data = bytearray(compile_source(tmp_path, "-g"))
    obj = elf.read(bytes(data))
    section = next(s for s in obj.sections if s.name == ".debug_line")
    for offset in range(0, section.size, 7):
        damaged = bytearray(data)
        damaged[section.offset + offset] ^= 0xFF
        assert len(sibling_calls.describe(bytes(damaged))) == len(sibling_calls.find(obj))


def test_functions_are_gone_through_once_however_many_sections_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    obj = elf.read(compile_source(tmp_path, "-ffunction-sections"))
    functions = sum(info & 15 == elf.STT_FUNC for info in obj.symbols.infos)
    local_entry = elf.Symbols.local_entry
    asked: list[int] = []

    def counting(symbols: elf.Symbols, index: int) -> int:
        asked.append(index)
        return local_entry(symbols, index)

    monkeypatch.setattr(elf.Symbols, "local_entry", counting)
    sibling_calls.find(obj)
    assert len(asked) == functions > 5


@pytest.mark.parametrize(
    ("options", "looked"),
    [
        ([], True),
        (["--sibling-calls=error"], True),
        (["-q", "--sibling-calls=error"], True),
        (["-q"], False),
        (["--sibling-calls=ignore"], False),
    ],
)
def test_nobody_looks_for_sibling_calls_when_nobody_asks(
    tmp_path: Path, options: list[str], looked: bool
) -> None:
    compile_source(tmp_path, "-fno-optimize-sibling-calls")
    code = (
        "import sys\nfrom nopfix.rewriter.__main__ import main\nstatus = main()\n"
        "loaded = 'nopfix.rewriter.kpatch.sibling_calls' in sys.modules\n"
        "sys.exit(status or 10 * loaded)"
    )
    command = [sys.executable, "-c", code, *options, "s.o", "out.o"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
    assert (done.returncode, done.stderr) == (10 * looked, b"")
