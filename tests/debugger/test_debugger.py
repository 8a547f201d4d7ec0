"""A debugger sees the rewritten program as it sees the untouched one.

gdb on qemu's stub stops at every line that has code and writes down backtraces with arguments,
their values at the entry, and locals.  Both programs have to give the same record.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

import nopfix

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
TARGET = "powerpc64le-linux-gnu"
MISSING = [
    tool
    for tool in (f"{TARGET}-gcc-12", f"{TARGET}-g++-12", "qemu-ppc64le", "gdb-multiarch")
    if shutil.which(tool) is None
]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {' '.join(MISSING)}")


def compiler(source: Path) -> str:
    # How much gdb shows, CASES says of this one; and another may show what nothing was stored into.
    return f"{TARGET}-g++-12" if source.suffix == ".cc" else f"{TARGET}-gcc-12"


def compile_object(source: Path, flags: str, folder: Path) -> Path:
    output = folder / "plain.o"
    command = [compiler(source), *flags.split(), "-c", str(source), "-o", str(output)]
    subprocess.run(command, check=True)
    return output


def rewritten(plain: Path) -> Path:
    """The object as nopfix makes it; it has to have changed.

    A .dwo is replaced: objects hold its name.
    """
    split = plain.with_suffix(".dwo")
    dwo = {str(split): split.read_bytes()} if split.exists() else {}
    result = nopfix.rewrite(plain.read_bytes(), nopfix.Options(dwo=dwo))
    assert result.data != plain.read_bytes()
    assert set(result.dwo) == set(dwo)
    for name, data in result.dwo.items():
        Path(name).write_bytes(data)
    output = plain.with_name("rewritten.o")
    output.write_bytes(result.data)
    return output


def link(source: Path, obj: Path) -> Path:
    # Always under one name: its length moves the stack, and with it what locals hold that nothing
    # has been stored in yet.
    program = obj.with_name("program")
    subprocess.run([compiler(source), "-static", str(obj), "-o", str(program)], check=True)
    return program


def record(program: Path, source: Path, line: str = "") -> str:
    """What gdb shows at each stop, and what the program prints."""
    socket, output = program.with_suffix(".socket"), program.with_suffix(".record")
    socket.unlink(missing_ok=True)
    qemu = subprocess.Popen(
        [*same_addresses(), "qemu-ppc64le", "-seed", "1", "-g", str(socket), str(program)],
        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 20
        while not socket.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        done = subprocess.run(
            ["gdb-multiarch", "-nx", "-batch", "-x", str(HERE / "record.py"), str(program)],
            env=os.environ | {
                "NOPFIX_SOCKET": str(socket),
                "NOPFIX_RECORD": str(output),
                "NOPFIX_SOURCE": source.name,
                "NOPFIX_LINE": line,
            },
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        printed, _ = qemu.communicate(timeout=20)
    finally:
        qemu.kill()
        qemu.wait()
    # Ids of the programs are small; others are what nobody set, halves of addresses.
    return re.sub(r"\bid = -?\d{5,}", "id = ADDRESS", output.read_text()) + printed


@functools.cache
def same_addresses() -> list[str]:
    """What keeps a program's addresses the same, where it may: they show in what nobody set.

    A newer qemu (10 is one) takes them from what its own are.
    """
    words = ["setarch", "-R"]
    try:
        return words if subprocess.run([*words, "true"]).returncode == 0 else []
    except FileNotFoundError:
        return []


# Program, flags, and at least how many stops and values at the entry gdb has to show.
CASES = [
    ("recursion.c", "-O2 -gdwarf-5", 12, 3),
    ("recursion.c", "-O2 -gdwarf-4", 12, 3),
    ("recursion.c", "-O2 -gdwarf-4 -gsplit-dwarf", 12, 3),
    ("inlining.c", "-O2 -gdwarf-5", 40, 40),
    ("inlining.c", "-O2 -gdwarf-4", 40, 40),
    # Not DWARF 4: GCC makes ranges in .debug_loc.dwo 2 bytes too short, and a value that this hides
    # in the untouched program shows in the other, whose range is longer by the slot.
    ("inlining.c", "-O2 -gdwarf-5 -gsplit-dwarf", 40, 40),
    ("exceptions.cc", "-O1 -gdwarf-5", 40, 10),
    ("exceptions.cc", "-O1 -gdwarf-4", 40, 10),
    ("switch.c", "-O2 -gdwarf-5", 30, 30),
    ("switch.c", "-O2 -gdwarf-4", 30, 30),
    ("varargs.c", "-O2 -gdwarf-5", 20, 10),
    ("varargs.c", "-O2 -gdwarf-4", 20, 10),
    ("tailcalls.c", "-O2 -gdwarf-5", 10, 5),
    ("tailcalls.c", "-O2 -gdwarf-4", 10, 5),
]


@pytest.mark.parametrize(("name", "flags", "stops", "entries"), CASES)
def test_gdb_shows_the_rewritten_program_as_it_shows_the_untouched_one(
    name: str, flags: str, stops: int, entries: int, tmp_path: Path
) -> None:
    source = PROGRAMS / name
    plain = compile_object(source, flags, tmp_path)
    assert plain.with_suffix(".dwo").exists() == ("-gsplit-dwarf" in flags)
    untouched = record(link(source, plain), source)
    moved = record(link(source, rewritten(plain)), source)
    assert moved == untouched
    assert len(re.findall(r"^#0 ", untouched, re.MULTILINE)) >= stops
    assert len(re.findall(r"@entry=(?!<optimized)", untouched)) >= entries


def test_the_value_at_the_entry_survives_where_a_nop_in_front_of_the_label_loses_it(
    tmp_path: Path,
) -> None:
    # A compiler plugin adds the nop in front of the label that the call site's return address is
    # made of; the address that gdb has in hand is then no call site's.
    source = PROGRAMS / "entry_values.c"
    stop = 1 + source.read_text().splitlines().index("    sink = 2; /* stop here */")
    assembly = tmp_path / "plugin.s"
    subprocess.run(
        [compiler(source), "-O2", "-gdwarf-5", "-S", str(source), "-o", str(assembly)], check=True
    )
    text = re.sub(r"(?m)^(\tbl (?:callee|clobber|caller).*)$", r"\1\n\tnop", assembly.read_text())
    assembly.write_text(text)
    plugin = tmp_path / "plugin.o"
    subprocess.run([compiler(source), "-c", str(assembly), "-o", str(plugin)], check=True)
    plain = compile_object(source, "-O2 -gdwarf-5", tmp_path)
    shown = {
        obj.stem: record(link(source, obj), source, str(stop))
        for obj in (plain, rewritten(plain), plugin)
    }
    assert "callee (x=41, x@entry=41)" in shown["plain"]
    assert shown["rewritten"] == shown["plain"]
    if "callee (x=41, x@entry=41)" in shown["plugin"]:
        pytest.skip("this gdb (16 is one) asks nothing of the call site here")
    assert "callee (x=<optimized out>, x@entry=<optimized out>)" in shown["plugin"]
