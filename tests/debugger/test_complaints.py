"""Other readers of DWARF have nothing to say about the output that they don't say of the input."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import rewriter

PROGRAMS = Path(__file__).parent / "programs"
TARGET = "powerpc64le-linux-gnu"
READERS = {
    "readelf": [f"{TARGET}-readelf", "--debug-dump"],
    # Not --verify: LLVM 19's never ends on relocatable objects, untouched ones included.
    "llvm-dwarfdump": ["llvm-dwarfdump-19", "--all"],
}


def complaints(command: list[str], obj: Path) -> set[str]:
    """The lines with a warning or an error, without numbers."""
    done = subprocess.run([*command, str(obj)], capture_output=True, check=False)
    text = (done.stdout + b"\n" + done.stderr).decode("utf-8", "replace")
    found = re.findall(r"(?mi)^.*\b(?:warning|error):.*$", text)
    return {re.sub(r"0x[0-9a-f]+|\d+", "N", line).replace(obj.name, "") for line in found}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("inlining.c", "-O2 -gdwarf-5"),
        ("inlining.c", "-O2 -gdwarf-4 -ffunction-sections"),
        ("exceptions.cc", "-O2 -gdwarf-3"),
    ],
)
def test_no_reader_complains_of_the_output_only(
    name: str, flags: str, reader: str, tmp_path: Path
) -> None:
    cc = f"{TARGET}-g++" if name.endswith(".cc") else f"{TARGET}-gcc"
    command = READERS[reader]
    if shutil.which(cc) is None or shutil.which(command[0]) is None:
        pytest.skip(f"needs {cc} and {command[0]}")
    plain, moved = tmp_path / "plain.o", tmp_path / "moved.o"
    subprocess.run([cc, *flags.split(), "-c", PROGRAMS / name, "-o", plain], check=True)
    moved.write_bytes(rewriter.rewrite(plain.read_bytes()).data)
    assert moved.read_bytes() != plain.read_bytes()
    assert complaints(command, moved) <= complaints(command, plain)
