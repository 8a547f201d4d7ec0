"""Other readers of ELF and DWARF say nothing of the output that they don't say of the input."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import nopfix

PROGRAMS = Path(__file__).parent / "programs"
TARGET = "powerpc64le-linux-gnu"
GCC, CLANG = f"{TARGET}-gcc", f"clang-19 --target={TARGET}"
READERS = {
    "readelf": f"{TARGET}-readelf --debug-dump",
    "llvm-dwarfdump": "llvm-dwarfdump-19 --all",
    "llvm-dwarfdump verify": "llvm-dwarfdump-19 --verify",
    "eu-readelf": "eu-readelf --debug-dump",
    "eu-elflint": "eu-elflint --gnu-ld",
}
CASES = [
    (GCC, "inlining.c", "-O2 -gdwarf-5"),
    (GCC, "inlining.c", "-O2 -gdwarf-4 -ffunction-sections"),
    (GCC, "inlining.c", "-O2 -gdwarf-5 -gno-as-loc-support"),
    (GCC, "inlining.c", "-O2 -gdwarf-4 -gstrict-dwarf"),
    (GCC, "switch.c", "-O2 -gdwarf-5 -fno-var-tracking"),
    (GCC, "recursion.c", "-O2 -gdwarf-5"),
    (GCC, "recursion.c", "-O2 -gdwarf-5 -gdwarf64"),
    (GCC, "recursion.c", "-O2 -gdwarf-4"),
    (GCC, "recursion.c", "-O2 -g3 -gz"),
    (GCC, "varargs.c", "-O2 -gdwarf-4 -gstrict-dwarf -fdebug-types-section"),
    (GCC, "exceptions.cc", "-O2 -gdwarf-3 -gstrict-dwarf"),
    (GCC, "exceptions.cc", "-O2 -gdwarf-4 -gstrict-dwarf -ggnu-pubnames"),
    (GCC, "exceptions.cc", "-O2 -gdwarf-5"),
    (CLANG, "inlining.c", "-O2 -gdwarf-4"),
    (CLANG, "inlining.c", "-O2 -gdwarf-5 -gpubnames"),
    (CLANG, "switch.c", "-O2 -gdwarf-5 -glldb"),
    (CLANG, "exceptions.cc", "-O2 -gdwarf-4"),
    (CLANG, "exceptions.cc", "-O2 -gdwarf-5 -ffunction-sections"),
]
ENDLESS = {case for case in CASES if case[1] in ("inlining.c", "exceptions.cc") and case[0] == GCC}
ENDLESS -= {case for case in ENDLESS if "-gstrict-dwarf" in case[2]}
"""What LLVM 19's --verify never ends on, untouched or not: call sites in a lexical block or an
inlined function (its loop for the function around a call site always asks for the same parent)."""


def run(command: str, *more: str | Path) -> None:
    subprocess.run([*command.split(), *more], check=True)


def complaints(command: str, obj: Path) -> set[str]:
    """What a reader complains of, without numbers."""
    done = subprocess.run(
        [*command.split(), str(obj)], capture_output=True, check=False, timeout=60
    )
    output, errors = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
    found = errors.splitlines() + re.findall(r"(?mi)^.*\b(?:warning|error):.*$", output)
    if "elflint" in command:
        found += output.splitlines()
    if done.returncode:
        found.append(f"exit status {done.returncode}")
    return {re.sub(r"0x[0-9a-f]+|\d+", "N", line).replace(obj.name, "") for line in found}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0].split('-')[0]} {case[1:]}")
def test_no_reader_complains_of_the_output_only(case: tuple[str, str, str], tmp_path: Path) -> None:
    compiler, name, flags = case
    if name.endswith(".cc") and compiler == GCC:
        compiler = f"{TARGET}-g++"
    for tool in (compiler.split()[0], GCC):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    plain, moved = tmp_path / "plain.o", tmp_path / "moved.o"
    run(f"{compiler} {flags} -fPIC -c", PROGRAMS / name, "-o", plain)
    moved.write_bytes(nopfix.rewrite(plain.read_bytes()).data)
    assert moved.read_bytes() != plain.read_bytes()
    pairs = [(plain, moved), (tmp_path / "plain.so", tmp_path / "moved.so")]
    for before, after in zip(*pairs, strict=True):
        run(f"{TARGET}-ld -shared --allow-shlib-undefined", before, "-o", after)
    asked = 0
    for reader, command in READERS.items():
        if shutil.which(command.split()[0]) is None or ("verify" in reader and case in ENDLESS):
            continue
        for before, after in pairs:
            assert complaints(command, after) <= complaints(command, before), (reader, after.name)
            asked += 1
    if not asked:
        pytest.skip("no reader is installed")
