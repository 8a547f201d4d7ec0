"""Numbers in static variables that may be the distance of two labels."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from nopfix import Options, Refusal, rewrite
from nopfix.rewriter.references import split_dwarf

if TYPE_CHECKING:
    from pathlib import Path

GCC = "powerpc64le-linux-gnu-gcc"
CLANG = "clang-19"
COMPILERS = {GCC: ("-O1",), CLANG: ("--target=powerpc64le-linux-gnu", "-O1")}

SOURCE = """
static void __attribute__((noinline)) call(void) { asm volatile ("" ::: "memory"); }
OUTSIDE
const void *f(int n)
{
INSIDE
a:  call();
b:  call();
c:  asm volatile ("" :: "r" (n));
d:  if (n) goto a;
    if (n > 1) goto b;
    if (n > 2) goto c;
    if (n > 3) goto d;
    return &x;
}
"""
OTHER = "static const int x[] = {4, 8, 1234567, 0};"


def compiled(folder: Path, inside: str, outside: str = "", *flags: str, cc: str = GCC) -> bytes:
    if shutil.which(cc) is None:
        pytest.skip(f"{cc} is not installed")
    (folder / "f.c").write_text(SOURCE.replace("INSIDE", inside).replace("OUTSIDE", outside))
    command = [cc, *COMPILERS[cc], "-g", *flags, "-w", "-c", "f.c"]
    subprocess.run(command, cwd=folder, check=True)
    return (folder / "f.o").read_bytes()


DISTANCES = {
    "8 bytes": "static long x = (char *) &&b - (char *) &&a;",
    "backwards": "static long x = (char *) &&a - (char *) &&c;",
    "a table": "static const int x[] = {&&a - &&a, &&b - &&a, &&c - &&a};",
    "2 bytes": "static short x[] = {&&a - &&b, &&c - &&d};",
    "1 byte": "static signed char x = &&c - &&a;",
    "one in a struct": "static struct { int n; long d; } x = {0, &&c - &&a};",
}


@pytest.mark.parametrize("inside", DISTANCES.values(), ids=DISTANCES.keys())
@pytest.mark.parametrize("cc", COMPILERS)
def test_a_variable_that_may_be_a_distance_that_changes_is_refused(
    tmp_path: Path, cc: str, inside: str
) -> None:
    data = compiled(tmp_path, inside, cc=cc)
    with pytest.raises(Refusal, match="may be the distance of two labels") as refused:
        rewrite(data)
    assert refused.value.function == "f"
    assert refused.value.section is not None
    assert refused.value.section.startswith((".data", ".rodata", ".sdata"))


@pytest.mark.parametrize("flags", [("-gdwarf-2",), ("-gdwarf-4",), ("-gdwarf64",)])
def test_labels_are_found_in_every_version_of_dwarf(tmp_path: Path, flags: tuple[str, ...]) -> None:
    with pytest.raises(Refusal, match="may be the distance of two labels"):
        rewrite(compiled(tmp_path, DISTANCES["a table"], "", *flags))


@pytest.mark.parametrize("flags", [("-gdwarf-4",), ("-gdwarf-5",)])
def test_labels_are_found_in_split_dwarf(tmp_path: Path, flags: tuple[str, ...]) -> None:
    data = compiled(tmp_path, DISTANCES["a table"], "", "-gsplit-dwarf", *flags)
    dwo = split_dwarf.beside(str(tmp_path / "f.o"), data)
    assert dwo
    with pytest.raises(Refusal, match="may be the distance of two labels"):
        rewrite(data, Options(dwo=dwo))


NO_DISTANCES = {
    "a table of other numbers": (OTHER, ""),
    "no slot in between": ("static long x = (char *) &&d - (char *) &&c;", ""),
    "declared outside": ("static long other = 8;", "static long x = 4;"),
    "too large": ("static long x = 40000;", ""),
    "nothing but zeros": ("static int x[] = {&&a - &&a};", ""),
}


@pytest.mark.parametrize(("inside", "outside"), NO_DISTANCES.values(), ids=NO_DISTANCES.keys())
def test_other_numbers_stay(tmp_path: Path, inside: str, outside: str) -> None:
    data = compiled(tmp_path, inside, outside)
    assert len(rewrite(data).report.insertions) == 2
