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
    source = SOURCE.replace("INSIDE", inside).replace("OUTSIDE", outside)
    return compile_source(folder, source, *COMPILERS[cc], "-g", *flags, "-w", cc=cc)


def compile_source(folder: Path, source: str, *flags: str, cc: str = GCC) -> bytes:
    if shutil.which(cc) is None:
        pytest.skip(f"{cc} is not installed")
    (folder / "f.c").write_text(source)
    subprocess.run([cc, *flags, "-c", "f.c"], cwd=folder, check=True)
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


BESIDE_ADDRESSES = {
    "lengths": "static const struct { void *at; int n; } x[] ="
    " {{&&a, &&b - &&a}, {&&b, &&c - &&b}};",
    "lengths in front": "static const struct { long n; void *at; } x[] ="
    " {{&&c - &&a, &&a}, {0, 0}};",
    "among other numbers": "static struct { void *at; int k, n; } x[] = {{&&a, 77, &&c - &&a}};",
    "bytes": "static struct { void *at; char k, n; } x[] ="
    " {{&&a, 77, &&c - &&a}, {&&b, 78, &&d - &&b}};",
    "from the first": "static struct { void *at; int n; } x[] ="
    " {{&&b, &&b - &&a}, {&&d, &&d - &&a}};",
}


@pytest.mark.parametrize("inside", BESIDE_ADDRESSES.values(), ids=BESIDE_ADDRESSES.keys())
@pytest.mark.parametrize("cc", COMPILERS)
def test_a_number_beside_the_address_of_a_label_may_be_a_distance(
    tmp_path: Path, cc: str, inside: str
) -> None:
    data = compiled(tmp_path, inside, cc=cc)
    with pytest.raises(Refusal, match="may be the distance of two labels") as refused:
        rewrite(data)
    assert refused.value.function == "f"


def test_what_the_data_itself_names_needs_no_debug_information(tmp_path: Path) -> None:
    inside = "static struct { void *at; long n; } x[] = {{&&a, &&c - &&a}, {&&c, 0}};"
    with pytest.raises(Refusal, match="may be the distance of two labels"):
        rewrite(compiled(tmp_path, inside, "", "-g0"))


def test_the_compilers_own_copy_of_an_array_may_hold_distances(tmp_path: Path) -> None:
    """GCC keeps what an automatic variable begins with in data without a symbol."""
    source = """
static void __attribute__((noinline)) call(void) { asm volatile ("" ::: "memory"); }
extern void use(void *);
const void *f(int n)
{
    struct { void *at; long n; } t[] = {{&&b, &&b - &&a}, {&&c, &&c - &&a}};
    use(t);
a:  call();
    asm volatile ("ori 3,3,1" ::: "3");
b:  call();
    asm volatile ("ori 3,3,1" ::: "3");
c:  if (n) goto a;
    return n > 1 ? &&b : &&c;
}
"""
    data = compile_source(tmp_path, source, "-O1", "-g", "-w")
    with pytest.raises(Refusal, match="may be the distance of two labels") as refused:
        rewrite(data)
    assert (refused.value.section or "").startswith(".data")


OTHER_NUMBERS = {
    "no distances": "static struct { void *at; int n; } x[] = {{&&c, 4}, {&&d, 1000}, {&&c, 12}};",
    "no slot in between": "static struct { void *at; int n; } x[] = {{&&c, &&d - &&c}};",
    "odd": "static struct { void *at; int n; } x[] = {{&&c, 1}, {&&d, 2}};",
}


@pytest.mark.parametrize("inside", OTHER_NUMBERS.values(), ids=OTHER_NUMBERS.keys())
@pytest.mark.parametrize("cc", COMPILERS)
def test_other_numbers_beside_addresses_of_labels_stay(
    tmp_path: Path, cc: str, inside: str
) -> None:
    assert len(rewrite(compiled(tmp_path, inside, cc=cc)).report.insertions) == 2


COUNTED = """
extern int open_a(int), open_b(int), open_c(int);
static __attribute__((noinline)) void close_a(void) { open_a(-1); }
static __attribute__((noinline)) void close_b(void) { open_b(-1); }
int probe(int n)
{
    static TYPE;
    if (open_a(n) < 0) return -1;
    if (open_b(n) < 0) goto err_a;
    if (open_c(n + USE) < 0) goto err_b;
    return 0;
err_b: close_b();
err_a: close_a();
    return -1;
}
"""
STORED = {
    "counted": ("int limit = 4", "limit++"),
    "set": ("long limit = 4", "(limit = n)"),
    "one of an array": ("short limit[] = {4, 4}", "++limit[1]"),
    "behind an index": ("int limit[] = {4, 4, 4}", "++limit[n]"),
}


@pytest.mark.parametrize(("type", "use"), STORED.values(), ids=STORED.keys())
@pytest.mark.parametrize("flags", ["-Os", "-O1", "-O2 -mcmodel=large", "-Os -fno-section-anchors"])
def test_a_variable_that_code_stores_into_is_no_distance(
    tmp_path: Path, type: str, use: str, flags: str
) -> None:
    source = COUNTED.replace("TYPE", type).replace("USE", use)
    assert rewrite(compile_source(tmp_path, source, *flags.split(), "-g")).report.insertions


def test_a_variable_that_code_only_reads_may_be_a_distance(tmp_path: Path) -> None:
    source = COUNTED.replace("TYPE", "volatile int limit = 4").replace("USE", "limit")
    data = compile_source(tmp_path, source, "-Os", "-g")
    with pytest.raises(Refusal, match="may be the distance of two labels"):
        rewrite(data)
