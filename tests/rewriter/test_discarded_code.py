"""Debug information of code that a linker has discarded: it stays, whatever else moves.

Two objects with one function in a group of the same name, linked by ``ld -r``: rewritten before or
after, the same comes out.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from nopfix import rewrite
from nopfix.corpus import compare, toolchain
from nopfix.dwarf.section import Target, discarded
from nopfix.verifier import verify

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
extern int other(int), table[];
template <class T> __attribute__((noinline)) T shared(T x) {
  T y = other(x);
  for (int i = 0; i < x; i++) y += other(i) * table[y & 3];
  return y;
}
static __attribute__((noinline)) int own(int x) { return other(x) + table[x & 1]; }
int NAME(int x) { int y = own(x); { int z = shared(y); y += own(z); } return y - shared(y + 1); }
"""
COMPILERS = {
    "GCC": ("powerpc64le-linux-gnu-g++",),
    "clang": ("clang-19", "--target=powerpc64le-linux-gnu"),
}


def tool(name: str) -> str:
    """The tool's path; the test is skipped where it isn't installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}")
    return found


@pytest.mark.parametrize("flags", ["-gdwarf-5", "-gdwarf-4", "-gdwarf-5 -ffunction-sections"])
@pytest.mark.parametrize("compiler", COMPILERS.values(), ids=COMPILERS)
def test_what_speaks_of_discarded_code_stays(
    compiler: tuple[str, ...], flags: str, tmp_path: Path
) -> None:
    program, *options = compiler
    command = [tool(program), *options, "-O2", *flags.split(), "-c", "-x", "c++", "-"]
    for name in ("one", "two"):
        source = SOURCE.replace("NAME", name).encode()
        output = tmp_path / f"{name}.o"
        subprocess.run([*command, "-o", output], input=source, check=True)
        (tmp_path / f"{name}-slots.o").write_bytes(rewrite(output.read_bytes()).data)
    for kind in ("", "-slots"):
        objects = [f"one{kind}.o", f"two{kind}.o"]
        linker = [toolchain.binutil("ld"), "-r", "-o", f"both{kind}.o", *objects]
        subprocess.run(linker, cwd=tmp_path, check=True)
    plain, wanted = (tmp_path / "both.o").read_bytes(), (tmp_path / "both-slots.o").read_bytes()
    new = rewrite(plain).data
    assert compare.differences(new, wanted) == []
    assert verify(plain, new, need_slots=True).verified


def test_only_what_linkers_leave_for_an_address_stands_for_discarded_code() -> None:
    for number in (0, 1, (1 << 64) - 1, (1 << 64) - 2):
        assert discarded(number.to_bytes(8, "little"), 0) == Target(0, number)
    for number in (2, 4, 0x1000, 1 << 63):
        assert discarded(number.to_bytes(8, "little"), 0) is None
