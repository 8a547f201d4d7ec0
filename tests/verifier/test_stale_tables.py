"""Tables that a branch reads and nobody moved: every shape of dispatch that compilers have.

OUT is what the assembler makes of the source with nops; the stale one has IN's numbers in it. Where
what a branch reads can't be told for certain, nothing may be asked.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pytest

import nopfix
from nopfix.verifier import elf, verify
from nopfix.verifier.report import Findings
from nopfix.verifier.stale_tables import Checker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Assemble = Callable[..., bytes]
    Variants = Callable[..., tuple[bytes, bytes]]

FUNCTION = """
    .text
    .type g, @function
g:  blr
    .size g, .-g
    .globl f
    .type f, @function
f:  mflr 0
    std 0,16(1)
    stdu 1,-64(1)
    READ
.La: bl g
    SLOT
    AGAIN
.Lb: bl g
    SLOT
    mr 5,6
.Lc: addi 1,1,64
    ld 0,16(1)
    ld 28,-32(1)
    ld 29,-24(1)
    mtlr 0
    blr
    .size f, .-f
    .section .rodata,"a"
    .balign 8
    DATA
    .section .toc,"aw"
.LCt: .quad .Lt
.LCa: .quad .La
"""
JUMP = "mtctr 9\n bctr"
TABLE = "addis 10,2,.Lt@toc@ha\n addi 10,10,.Lt@toc@l\n "
BASE = "addis 8,2,.LCa@toc@ha\n ld 8,.LCa@toc@l(8)\n "
NUMBERS = ".Lt: .long .Lc-.La, .Lb-.La, .La-.La"
OBJECT = f".type t, @object\nt: {NUMBERS}\n .size t, .-t\n .long 4, 8"


class Shape(NamedTuple):
    read: str
    data: str = OBJECT
    again: str = ""


SHAPES = {
    "lwax, base from the TOC": Shape(f"sldi 9,3,2\n {TABLE}lwax 9,10,9\n {BASE}add 9,9,8\n {JUMP}"),
    "its operands the other way": Shape(
        f"sldi 9,3,2\n {TABLE}lwax 9,9,10\n {BASE}add 9,8,9\n {JUMP}"
    ),
    "up to the next name": Shape(
        f"sldi 9,3,2\n {TABLE}lwax 9,10,9\n {BASE}add 9,9,8\n {JUMP}", f"{NUMBERS}\n u: .long 4, 8"
    ),
    "lwz and extsw": Shape(
        f"lwa 9,32(1)\n extsw 9,9\n sldi 9,9,2\n {TABLE}add 9,10,9\n lwz 9,0(9)\n extsw 10,9\n"
        f" {BASE}add 9,10,8\n nop\n {JUMP}"
    ),
    "lwa and a copy": Shape(
        f"{TABLE}sldi 9,3,2\n add 9,10,9\n lwa 9,0(9)\n mr 10,9\n {BASE}add 9,10,8\n {JUMP}"
    ),
    "halves behind an anchor": Shape(
        "sldi 3,3,1\n addis 10,2,.Lanchor@toc@ha\n addi 10,10,.Lanchor@toc@l\n add 9,10,3\n"
        f" lha 9,4(9)\n {BASE}add 9,9,8\n {JUMP}",
        ".Lanchor: .long 77\n .type t, @object\nt: .short .Lc-.La, .Lb-.La\n .size t, .-t",
    ),
    "halves extended": Shape(
        f"sldi 9,3,1\n {TABLE}add 9,10,9\n lhz 9,0(9)\n extsh 9,9\n {BASE}add 9,9,8\n {JUMP}",
        ".Lt: .short .Lc-.La, .Lb-.La",
    ),
    "bytes": Shape(
        f"clrldi 9,3,56\n {TABLE}lbzx 9,10,9\n {BASE}add 9,9,8\n {JUMP}",
        ".Lt: .byte .Lc-.La, .Lb-.La",
    ),
    "doublewords": Shape(
        f"sldi 9,3,3\n {TABLE}ldx 9,10,9\n {BASE}add 9,9,8\n {JUMP}",
        ".Lt: .quad .Lc-.La, .Lb-.La, .La-.La",
    ),
    "members of structures": Shape(
        f"mulli 9,3,12\n {TABLE}add 9,10,9\n lwa 9,4(9)\n {BASE}add 9,9,8\n {JUMP}",
        ".type t, @object\n.Lt:\nt: .long 4, .Lc-.La, 8, 12, .Lb-.La, 16\n .size t, .-t",
    ),
    "from the program counter": Shape(
        "bl .+4\n.Lp: mr 7,4\n mflr 5\n cmplwi 3,2\n bgt 0,.Lc\n addis 6,2,.LCt@toc@ha\n"
        f" rldic 9,3,2,30\n ld 6,.LCt@toc@l(6)\n lwax 9,9,6\n add 9,9,5\n {JUMP}",
        NUMBERS.replace("-.La", "-.Lp"),
    ),
    "kept in the frame": Shape(
        "bcl 20,31,$+4\n.Lp: mflr 5\n std 5,40(1)\n std 3,48(1)\n ld 4,40(1)\n ld 3,48(1)\n"
        " sldi 3,3,2\n ld 6,.LCt@toc(2)\n lwax 3,3,6\n add 3,3,4\n mtctr 3\n bctr",
        NUMBERS.replace("-.La", "-.Lp"),
    ),
    "once for the whole function": Shape(
        "std 28,40(1)\n std 29,32(1)\n addis 29,2,.Lt@toc@ha\n addi 29,29,.Lt@toc@l\n"
        " addis 28,2,.LCa@toc@ha\n ld 28,.LCa@toc@l(28)\n b .Lb",
        again=f"sldi 9,3,2\n lwax 9,29,9\n add 9,28,9\n {JUMP}",
    ),
    "by several ways": Shape(
        f"{TABLE}sldi 9,3,2\n lwax 9,10,9\n {BASE}add 9,9,8\n std 9,40(1)\n b .Lj\n"
        f".Lj: ld 9,40(1)\n {JUMP}",
        again=f"{TABLE}sldi 9,3,2\n lwax 9,10,9\n {BASE}add 9,9,8\n std 9,40(1)\n b .Lj",
    ),
    "prefixed": Shape(
        f"pla 10,.Lt@pcrel\n sldi 9,3,2\n lwax 9,10,9\n pla 8,.La@pcrel\n add 9,9,8\n {JUMP}"
    ),
    "each second entry": Shape(
        f"rlwinm 9,3,2,27,28\n {TABLE}lwax 9,10,9\n {BASE}add 9,9,8\n {JUMP}",
        ".type t, @object\n.Lt:\nt: .long .Lc-.La, 2, .Lb-.La, 6\n .size t, .-t",
    ),
    "each second entry, from the second on": Shape(
        f"slwi 9,3,1\n addi 9,9,1\n rldic 9,9,2,30\n {TABLE}lwax 9,10,9\n {BASE}add 9,9,8\n {JUMP}",
        ".type t, @object\n.Lt:\nt: .long 1, .Lc-.La, 2, .Lb-.La, 3\n .size t, .-t",
    ),
    "from the GOT": Shape(
        f"pld 10,t@got@pcrel\n sldi 9,3,2\n lwax 9,10,9\n pld 8,.LCa@pcrel\n add 9,9,8\n {JUMP}",
    ),
}


def objects(shape: Shape, variants: Variants) -> tuple[bytes, bytes, bytes]:
    """IN, OUT, and OUT with all data of IN."""
    words = {"READ": shape.read, "AGAIN": shape.again, "DATA": shape.data}
    source = FUNCTION
    for word, text in words.items():
        source = source.replace(word, text)
    old, new = variants(source, "-mpower10")
    return old, new, restored(old, new)


def restored(old: bytes, new: bytes) -> bytes:
    """OUT with IN's .rodata, if it has one."""
    for section, counterpart in zip(elf.read(old).sections, elf.read(new).sections, strict=True):
        if section.name == ".rodata":
            end = counterpart.offset + section.size
            return new[: counterpart.offset] + section.data + new[end:]
    return new


@pytest.mark.parametrize("name", SHAPES)
def test_a_table_that_a_branch_reads_follows_its_labels(name: str, variants: Variants) -> None:
    old, new, stale = objects(SHAPES[name], variants)
    report = verify(old, new)
    assert report.differences == ()
    assert report.counts["table of a branch"] == 1
    assert stale != new
    assert {difference.rule for difference in verify(old, stale).differences} == {"stale-table"}


IN_CODE = Shape(
    f"{TABLE}sldi 9,3,2\n lwax 9,10,9\n {BASE}add 9,9,8\n {JUMP}",
    ".text\n .balign 8\n.type u, @object\nu:\n.Lt: .long 12, 8\n .size u, .-u\n"
    ' .section .rodata,"a"',
)


def test_a_table_among_code_that_is_not_behind_its_branch_is_looked_at(variants: Variants) -> None:
    """The numbers are those of IN in both."""
    old, new, _ = objects(IN_CODE, variants)
    assert {difference.rule for difference in verify(old, new).differences} == {"stale-table"}


LWAX = f"lwax 9,10,9\n {BASE}add 9,9,8\n {JUMP}"
SILENT = {
    "an index that isn't scaled": Shape(f"{TABLE}srdi 9,3,2\n {LWAX}"),
    "an index of unknown origin": Shape(f"{TABLE}add 9,3,4\n {LWAX}"),
    "an index that came in": Shape(f"{TABLE}mr 9,3\n {LWAX}"),
    "a smaller step than an entry has": Shape(f"{TABLE}sldi 9,3,1\n {LWAX}"),
    "another extension than the load has": Shape(
        f"{TABLE}sldi 9,3,2\n lwzx 9,10,9\n extsh 9,9\n {BASE}add 9,9,8\n {JUMP}"
    ),
    "a call in between": Shape(f"sldi 29,3,2\n {TABLE}bl h@notoc\n lwax 9,10,29\n {LWAX[12:]}"),
    "a table that may be one of two": Shape(
        "addis 29,2,.Lt@toc@ha\n addi 29,29,.Lt@toc@l\n cmpdi 4,0\n beq 0,.Lb\n"
        " addis 29,2,.Lu@toc@ha\n addi 29,29,.Lu@toc@l\n b .Lb",
        f"{OBJECT}\n.Lu: .long 99",
        f"sldi 9,3,2\n lwax 9,29,9\n {BASE}add 9,9,8\n {JUMP}",
    ),
    "a register that came in": Shape(f"sldi 9,3,2\n lwax 9,10,9\n {LWAX[12:]}\n {TABLE}"),
    "two different things in a slot": Shape(
        f"{TABLE}sldi 9,3,2\n lwax 9,10,9\n {BASE}add 9,9,8\n std 9,40(1)\n ld 9,40(1)\n {JUMP}",
        again="std 8,40(1)",
    ),
    "an index that begins at another number than 0": Shape(
        f"{TABLE}sldi 9,3,2\n addi 10,10,4\n {LWAX}"
    ),
    "an index that ends behind another object": Shape(
        f"{TABLE}sldi 9,3,2\n addi 10,10,-4\n {LWAX}",
        f".type u, @object\nu: .long 12\n .size u, 4\n{OBJECT}",
    ),
    "an end that can't be told": Shape(
        f"{TABLE}sldi 9,3,2\n {LWAX}", f"{NUMBERS}, 77\n u: .long 4, 8"
    ),
    "an entry that a relocation fills": Shape(
        f"{TABLE}sldi 9,3,2\n {LWAX}", OBJECT.replace(NUMBERS, f"{NUMBERS}, outside-.")
    ),
    "a base in data": Shape(f"{TABLE}sldi 9,3,2\n lwax 9,10,9\n add 9,9,10\n {JUMP}"),
    "LR of a call": Shape(
        f"bl g\n SLOT\n mflr 8\n {TABLE}sldi 9,3,2\n lwax 9,10,9\n add 9,9,8\n {JUMP}"
    ),
}


@pytest.mark.parametrize("name", SILENT)
def test_where_it_cannot_be_told_what_a_branch_reads_nothing_is_asked(
    name: str, variants: Variants
) -> None:
    old, _, stale = objects(SILENT[name], variants)
    report = verify(old, stale)
    assert "table of a branch" not in report.counts
    assert report.differences == ()


SOURCE = """
__attribute__((noinline)) int g(int x) { __asm__ volatile("" : "+r"(x) :: "memory"); return x; }
int computed(const unsigned char *p, int y)
{
    static const int t[] = {&&a - &&a, &&b - &&a, &&c - &&a, &&d - &&a};
    goto *(&&a + t[*p++]);
a:  y = g(y) + 1;
    goto *(&&a + t[*p++]);
b:  y = g(y + 2) * 3;
    goto *(&&a + t[*p++]);
c:  y ^= g(y * 4);
    goto *(&&a + t[*p++]);
d:  return g(y);
}
#define CASE(n) case n: return g(y + n) * (n + 3);
#define CASES(n) CASE(n) CASE(n + 1) CASE(n + 2) CASE(n + 3) CASE(n + 4) CASE(n + 5) CASE(n + 6)
int chosen(int x, int y)
{
    switch (x) {
    CASES(10) CASES(17) CASES(24) CASES(31) CASES(38) CASES(45) CASES(52) CASES(60) CASES(67)
    CASES(76)
    }
    return 0;
}
"""


def compiled(folder: Path, text: str, compiler: str, *options: str) -> bytes:
    """The object that a compiler makes of C; skips the test where there is no such compiler."""
    program = shutil.which(compiler)
    if program is None:
        pytest.skip(f"needs {compiler}")
    target = ["--target=powerpc64le-linux-gnu"] if "clang" in compiler else []
    (folder / "t.c").write_text(text)
    command = [program, *target, *options, "-w", "-c", "t.c", "-o", "t.o"]
    subprocess.run(command, cwd=folder, check=True)
    return (folder / "t.o").read_bytes()


@pytest.mark.parametrize("level", ["-O0", "-O1", "-O2", "-Os"])
@pytest.mark.parametrize("model", ["small", "medium", "large"])
@pytest.mark.parametrize("compiler", ["powerpc64le-linux-gnu-gcc", "clang-19"])
def test_a_compilers_tables_that_nobody_moved_are_seen(
    compiler: str, model: str, level: str, tmp_path: Path
) -> None:
    old = compiled(tmp_path, SOURCE, compiler, level, f"-mcmodel={model}")
    new = bytes(nopfix.rewrite(old).data)
    report = verify(old, new, need_slots=True)
    assert report.differences == ()
    assert report.counts["table of a branch"] >= 1
    stale = restored(old, new)
    expected = {"stale-table"} if stale != new else set()
    assert {difference.rule for difference in verify(old, stale).differences} == expected


SPARSE = """
__attribute__((noinline)) int g(int x) { __asm__ volatile("" : "+r"(x) :: "memory"); return x; }
int f(unsigned x)
{
    static const int t[] = {&&a - &&a, &&b - &&a, &&b - &&a, &&c - &&a, &&c - &&a, &&d - &&a,
                            &&d - &&a, &&a - &&a};
    int y = g(9);
    goto *(&&a + t[INDEX]);
a:  y += g(1);
b:  y += g(2);
c:  y ^= g(3);
d:  return y + g(4);
}
"""
INDICES = ("x & 6", "2 * x", "(x & 3) * 2", "x & 4")


@pytest.mark.parametrize("level", ["-O0", "-O1", "-O2", "-Os"])
@pytest.mark.parametrize("compiler", ["powerpc64le-linux-gnu-gcc", "clang-19"])
@pytest.mark.parametrize("index", INDICES)
def test_a_table_of_which_an_index_leaves_entries_out_follows_in_the_others(
    index: str, compiler: str, level: str, tmp_path: Path
) -> None:
    old = compiled(tmp_path, SPARSE.replace("INDEX", index), compiler, level)
    new = bytes(nopfix.rewrite(old).data)
    assert verify(old, new).differences == ()
    # One entry that is read is as it was.
    stale = bytearray(new)
    for section, counterpart in zip(elf.read(old).sections, elf.read(new).sections, strict=True):
        if section.name.startswith(".rodata") and section.data != counterpart.data:
            pairs = enumerate(zip(section.data, counterpart.data, strict=True))
            at = next(offset for offset, (a, b) in pairs if a != b)
            stale[counterpart.offset + at] = section.data[at]
    assert stale == new or not verify(old, bytes(stale)).verified


def test_an_object_that_a_place_is_in_is_found_behind_those_within_it(assemble: Assemble) -> None:
    data = assemble(
        ".data\n .macro own name, at, size\n .type \\name,@object\n .set \\name,.data+\\at\n"
        " .size \\name,\\size\n .endm\n own outer,0,64\n own first,8,8\n own second,16,8\n"
        " own behind,64,8\n .space 80\n"
    )
    checker = Checker(elf.read(data), elf.read(data), (), Findings())
    number = next(s.number for s in elf.read(data).sections if s.name == ".data")
    around = {place: checker.objects[number].around(place) for place in (0, 12, 40, 64, 72)}
    outer = range(64)
    assert around == {
        0: [outer],
        12: [outer, range(8, 16)],
        40: [outer],
        64: [range(64, 72)],
        72: [],
    }
