"""Data in code: each shape that compilers emit is found, and nothing else is guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nopfix import Refusal
from nopfix.rewriter.object import elf
from nopfix.rewriter.object.program import Program
from nopfix.rewriter.proof import data_in_code

if TYPE_CHECKING:
    from collections.abc import Callable

# A switch of four cases: how the base gets into r10, and the table, are filled in.
SWITCH = """
 .abiversion 2
 .text
 .align 3
 .globl f
 .type f,@function
f: cmplwi 3,{last}
 bgt .Ldefault
 sldi 3,3,2
{base}
 lwax 9,10,3
 add 9,9,10
 mtctr 9
 {jump}
 .align 2
.Ltable:
 .long .La-.Ltable
 .long .Lb-.Ltable
 .long .Lc-.Ltable
 .long .Ldefault-.Ltable
.La: li 3,1
 blr
.Lb: li 3,2
 blr
.Lc: li 3,3
.Ldefault: blr
 .size f,.-f
 .section .toc,"aw"
.LC0: .quad .Ltable
"""

BASES = {
    "TOC word, medium model": " addis 10,2,.LC0@toc@ha\n ld 10,.LC0@toc@l(10)",
    "TOC word, small model": " ld 10,.LC0@toc(2)",
    "TOC-relative address": " addis 10,2,.Ltable@toc@ha\n addi 10,10,.Ltable@toc@l",
    "PC-relative": " pla 10,.Ltable@pcrel",
    "spilled": " ld 10,.LC0@toc(2)\n std 10,-16(1)\n li 10,0\n ld 10,-16(1)",
}


def analyse(data: bytes) -> tuple[elf.Object, data_in_code.Analysis]:
    obj = elf.read(data)
    return obj, data_in_code.analyse(Program(obj))


@pytest.mark.parametrize("jump", ["bctr", "crset 2\n beqctr-\n b ."])
@pytest.mark.parametrize("base", BASES.values(), ids=BASES.keys())
def test_every_entry_of_a_table_in_code_is_a_difference(
    assemble: Callable[..., bytes], base: str, jump: str
) -> None:
    _, found = analyse(assemble(SWITCH.format(base=base, last=3, jump=jump), "-mpower10"))
    (differences,) = found.differences.values()
    (table,) = next(iter(found.regions.values()))
    assert table.kind == "switch table"
    assert [d.place for d in differences] == list(range(table.start, table.end, 4))
    assert {d.base for d in differences} == {table.start}
    assert [d.target - table.end for d in differences] == [0, 8, 16, 20]
    assert [branch.kind for branch in found.branches] == ["switch"]


def test_an_entry_that_the_index_cannot_reach_is_a_difference(
    assemble: Callable[..., bytes],
) -> None:
    """GCC 16, Linux 7.2's mt7615 driver: nine entries for an index of three bits."""
    text = SWITCH.format(base=BASES["TOC word, small model"], last=1, jump="bctr")
    _, found = analyse(assemble(text))
    (differences,) = found.differences.values()
    assert len(differences) == 4
    assert "its index allows 2" in found.branches[0].explain()


def test_what_the_index_cannot_reach_and_may_be_an_instruction_is_refused(
    assemble: Callable[..., bytes],
) -> None:
    text = SWITCH.format(base=BASES["TOC word, small model"], last=1, jump="bctr")
    far = text.replace(".Lc-.Ltable", "0xfffefff0")
    far = far.replace("f:", "f:\n .fill 0x4008,4,0x60000000\n")
    with pytest.raises(Refusal, match="index stays below 2") as caught:
        analyse(assemble(far))
    assert caught.value.function == "f"


@pytest.mark.parametrize("change", [" add 9,9,11\n", " xor 9,9,10\n"])
def test_an_unknown_computation_is_refused(assemble: Callable[..., bytes], change: str) -> None:
    text = SWITCH.format(base=BASES["TOC word, small model"], last=3, jump="bctr")
    with pytest.raises(Refusal, match="can't be followed"):
        analyse(assemble(text.replace(" add 9,9,10\n", change)))


def test_a_tail_call_through_r12_is_accepted(assemble: Callable[..., bytes]) -> None:
    text = " .abiversion 2\n .type f,@function\nf: ld 12,8(3)\n mtctr 12\n bctr\n .size f,.-f\n"
    _, found = analyse(assemble(text))
    assert [branch.kind for branch in found.branches] == ["tail call"]


def test_label_differences_in_writable_data_are_refused(assemble: Callable[..., bytes]) -> None:
    text = """
 .abiversion 2
 .type f,@function
f: ld 10,.LC0@toc(2)
 ld 9,.LC1@toc(2)
 sldi 3,3,2
 lwax 9,9,3
 add 9,9,10
 mtctr 9
 bctr
.La: li 3,1
.Lb: blr
 .size f,.-f
 .section {section}
 .type t,@object
t: .long .La-.Lb, .Lb-.Lb
 .size t,.-t
 .section .toc,"aw"
.LC0: .quad .Lb
.LC1: .quad t
"""
    with pytest.raises(Refusal, match="the program may change"):
        analyse(assemble(text.format(section=".data")))
    obj, found = analyse(assemble(text.format(section=".rodata")))
    ((section, differences),) = found.differences.items()
    assert obj.sections[section].name == ".rodata"
    assert [(d.place, d.target - d.base) for d in differences] == [(0, -4), (4, 0)]


def traceback(fields: str) -> str:
    return (
        f" .abiversion 2\n .type f,@function\nf: nop\n blr\n.LTf: .long 0\n{fields} .size f,.-f\n"
    )


@pytest.mark.parametrize(
    ("fields", "size", "differences"),
    [
        (" .byte 0,0,0,1,128,1,0,0\n", 12, 0),
        (' .byte 0,0,32,64,0,0,0,0\n .long .LTf-f\n .short 4\n .ascii "HHHH"\n .align 2\n', 24, 1),
        (
            ' .byte 0,0,32,96,0,0,1,1\n .long 0\n .long .LTf-f\n .short 1\n .ascii "H"\n'
            " .byte 31\n .align 2\n",
            24,
            1,
        ),
    ],
)
def test_traceback_tables_are_read_by_their_flags(
    assemble: Callable[..., bytes], fields: str, size: int, differences: int
) -> None:
    _, found = analyse(assemble(traceback(fields)))
    (regions,) = found.regions.values()
    assert [(r.start, r.end, r.kind) for r in regions] == [(8, 8 + size, "traceback table")]
    resolved = [d for own in found.differences.values() for d in own]
    assert [(d.target, d.base, d.side) for d in resolved] == [(8, 0, "after")] * differences


@pytest.mark.parametrize(
    "code",
    [
        " li 3,0\n blr\n",  # clang's `if (likely(c)) return g(); return 0;`
        " nop\n blr\n",
        " li 3,3072\n blr\n",  # the bytes of a table of the assembler's
        " addi 3,3,1\n li 4,2\n blr\n",
    ],
)
def test_a_zero_word_behind_a_tail_call_begins_no_traceback_table(
    assemble: Callable[..., bytes], code: str
) -> None:
    text = f" .abiversion 2\n .type f,@function\nf: cmpdi 3,0\n beq 0f\n b g\n .long 0\n0:{code}"
    _, found = analyse(assemble(text + " .size f,.-f\n"))
    assert not any(found.regions.values())


def test_a_traceback_table_written_by_hand_is_read(assemble: Callable[..., bytes]) -> None:
    """As OpenSSL's and Linux's cryptography has them."""
    _, found = analyse(assemble(traceback(" .byte 0,12,0x14,0,0,0,3,0\n .long 0\n")))
    assert [(r.start, r.end) for own in found.regions.values() for r in own] == [(8, 24)]


def test_the_toc_word_of_the_large_model_is_data(assemble: Callable[..., bytes]) -> None:
    text = " .abiversion 2\n .align 3\n.LCL: .quad .TOC.-.LCF\n .type f,@function\nf:\n.LCF: blr\n"
    _, found = analyse(assemble(text))
    (regions,) = found.regions.values()
    assert [tuple(region) for region in regions] == [(0, 8, "TOC word", 8)]


def test_text_in_code_that_looks_like_a_branch_is_refused(assemble: Callable[..., bytes]) -> None:
    text = ' .abiversion 2\n .type f,@function\nf: blr\n .ascii "xyzHabcHi\\0"\n .align 2\n'
    with pytest.raises(Refusal, match="looks like a branch"):
        analyse(assemble(text + " .size f,.-f\n"))
