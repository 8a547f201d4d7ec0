"""What registers hold, on every path, through spills and merges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nopfix import Refusal
from nopfix.rewriter.object import elf
from nopfix.rewriter.object.program import Program
from nopfix.rewriter.proof import data_in_code
from nopfix.rewriter.proof.indirect import Nothing, Number
from nopfix.rewriter.proof.reaching import Definition, Join

if TYPE_CHECKING:
    from collections.abc import Callable

    Assemble = Callable[..., bytes]

TABLE = """
 .align 2
.Lt: .long .La-.Lt
 .long .Lb-.Lt
.La: bl g
 nop
 b .Lhead
.Lb: ld 28,-32(1)
 blr
 .size f,.-f
 .section .toc,"aw"
.LC0: .quad .Lt
"""

HEAD = " .abiversion 2\n .type f,@function\nf:\n"
JUMP = " sldi 9,3,2\n lwax 9,28,9\n add 9,9,28\n mtctr 9\n bctr\n"


def analyse(data: bytes) -> data_in_code.Analysis:
    return data_in_code.analyse(Program(elf.read(data)))


def explain(data: bytes) -> str:
    (branch,) = analyse(data).branches
    return branch.explain()


def refused(data: bytes) -> str:
    """The refusal's text; the test fails where there is none."""
    with pytest.raises(Refusal) as caught:
        analyse(data)
    return str(caught.value)


# -- how the table's address gets to the jump --------------------------------------------------

BASES = {
    "a register": " ld 9,.LC0@toc(2)\n mr 28,9\n",
    "CTR and back": " ld 9,.LC0@toc(2)\n mtctr 9\n mfctr 28\n",
    "a TOC load, medium model": " addis 9,2,.LC0@toc@ha\n ld 28,.LC0@toc@l(9)\n",
    "an @toc@ha/@toc@l pair": " addis 9,2,.Lt@toc@ha\n addi 28,9,.Lt@toc@l\n",
    "la of an @toc@l": " addis 9,2,.Lt@toc@ha\n la 28,.Lt@toc@l(9)\n",
    "a GOT entry": " addis 9,2,.Lt@got@ha\n ld 28,.Lt@got@l(9)\n",
    "pla": " pla 28,.Lt@pcrel\n",
    "pld of what nobody changes": " pld 28,v@pcrel\n",
    "pld of a GOT entry": " pld 28,.Lt@got@pcrel\n",
    "a spill": " ld 9,.LC0@toc(2)\n std 9,-16(1)\n bl g\n nop\n ld 28,-16(1)\n",
    "a spill behind a frame pointer": " mr 31,1\n ld 9,.LC0@toc(2)\n std 9,-16(31)\n"
    " ld 28,-16(31)\n",
    "one of two": " ld 8,.LC0@toc(2)\n ld 9,.LC0@toc(2)\n isel 28,8,9,2\n",
    "a load with update": " addis 9,2,v@toc@ha\n addi 9,9,v@toc@l-8\n ldu 28,8(9)\n",
    "a merge": " cmpwi 3,1\n beq 0f\n ld 28,.LC0@toc(2)\n b 1f\n0: ld 28,.LC0@toc(2)\n1:\n",
    "a merge of spills": " ld 9,.LC0@toc(2)\n cmpwi 3,1\n beq 0f\n std 9,-16(1)\n b 1f\n"
    "0: std 9,-16(1)\n1: ld 28,-16(1)\n",
}


@pytest.mark.parametrize("base", BASES.values(), ids=BASES.keys())
def test_a_base_is_followed_through(assemble: Assemble, base: str) -> None:
    text = HEAD + base + ".Lhead:\n" + JUMP + TABLE + " .section .rodata\nv: .quad .Lt\n"
    assert "2 entries up to a label" in explain(assemble(text, "-mpower10"))


def test_a_base_is_followed_through_lr(assemble: Assemble) -> None:
    kept = " mflr 0\n ld 9,.LC0@toc(2)\n mtlr 9\n mflr 28\n mtlr 0\n"
    branches = analyse(assemble(HEAD + kept + ".Lhead:\n" + JUMP + TABLE)).branches
    assert any("2 entries up to a label" in branch.explain() for branch in branches)


def test_a_base_hoisted_out_of_a_loop_survives_calls(assemble: Assemble) -> None:
    text = HEAD + " std 28,-32(1)\n ld 28,.LC0@toc(2)\n.Lhead:\n" + JUMP + TABLE
    assert "distances at .text+0x1c: 2 entries up to a label" in explain(assemble(text))


NO_BASES = {
    "paths that differ": " ld 28,.LC0@toc(2)\n cmpwi 3,1\n beq .Lhead\n mr 28,4\n",
    "a loop that adds": " ld 28,.LC0@toc(2)\n0: addi 28,28,4\n cmpwi 4,0\n bne 0b\n",
    "a number added to code": " ld 28,.LC0@toc(2)\n addi 28,28,4\n",
    "a spill that is overwritten": " ld 9,.LC0@toc(2)\n std 9,-16(1)\n std 4,-16(1)\n"
    " ld 28,-16(1)\n",
    "a spill overwritten in part": " ld 9,.LC0@toc(2)\n std 9,-16(1)\n stw 4,-12(1)\n"
    " ld 28,-16(1)\n",
    "a spill overwritten by a vector": " ld 9,.LC0@toc(2)\n std 9,-24(1)\n stxv 34,-32(1)\n"
    " ld 28,-24(1)\n",
    "a spill, one way only": " cmpwi 3,1\n beq 0f\n ld 9,.LC0@toc(2)\n std 9,-16(1)\n"
    "0: ld 28,-16(1)\n",
    "a spill and a new frame": " ld 9,.LC0@toc(2)\n std 9,-16(1)\n stdu 1,-64(1)\n ld 28,-16(1)\n",
    "memory that a call may change": " mr 31,3\n ld 9,.LC0@toc(2)\n std 9,8(31)\n bl g\n nop\n"
    " ld 28,8(31)\n",
    "memory by what was a frame pointer": " std 3,-16(1)\n cmpwi 4,0\n beq 0f\n mr 31,1\n"
    " lwz 4,8(31)\n blr\n0: ld 31,-16(1)\n ld 9,.LC0@toc(2)\n std 9,8(31)\n bl g\n nop\n"
    " ld 28,8(31)\n",
    "LR behind a system call": " sc\n mflr 28\n",
    "the upper half of an address": " addis 28,2,.Lt@toc@ha\n",
    "a GOT entry's address": " addis 9,2,.Lt@got@ha\n addi 28,9,.Lt@got@l\n",
    "a GOT entry's address, with a prefix": " pla 28,.Lt@got@pcrel\n",
    "half of what nobody changes": " plwa 28,v@pcrel\n",
    "the stack by an index": " ld 9,.LC0@toc(2)\n std 9,0(1)\n ldx 28,1,4\n",
    "half of a GOT entry": " addis 9,2,.Lt@got@ha\n lwa 28,.Lt@got@l(9)\n",
    "a spill of half of it": " ld 9,.LC0@toc(2)\n std 9,-16(1)\n stw 9,-12(1)\n ld 28,-16(1)\n",
    "a spill as it was before the frame": " ld 9,.LC0@toc(2)\n stdu 9,-16(1)\n ld 28,-16(1)\n",
    "a spill by an index": " ld 9,.LC0@toc(2)\n stw 9,-16(1)\n stwx 9,1,4\n ld 28,-16(1)\n",
    "a spill of four bytes": " ld 9,.LC0@toc(2)\n stw 9,-16(1)\n lwz 28,-16(1)\n",
    "one of two, of which one isn't known": " ld 9,.LC0@toc(2)\n isel 28,9,4,2\n",
    "the other of two, of which one isn't known": " ld 9,.LC0@toc(2)\n isel 28,4,9,2\n",
    "what a load with update leaves of an argument": " ldu 9,8(28)\n",
}


@pytest.mark.parametrize(
    ("section", "is_constant"), [(".data", False), (".data.rel.ro", True), (".rodata", True)]
)
def test_a_base_from_a_variable_is_no_constant(
    assemble: Assemble, section: str, is_constant: bool
) -> None:
    flags = "a" if section == ".rodata" else "aw"
    text = HEAD + " addis 9,2,v@toc@ha\n ld 28,v@toc@l(9)\n.Lhead:\n" + JUMP + TABLE
    data = assemble(text + f' .section {section},"{flags}"\nv: .quad .Lt\n')
    assert "2 entries" in explain(data) if is_constant else "can't be followed" in refused(data)


@pytest.mark.parametrize("base", NO_BASES.values(), ids=NO_BASES.keys())
def test_a_base_that_is_not_certain_is_refused(assemble: Assemble, base: str) -> None:
    text = HEAD + base + ".Lhead:\n" + JUMP + TABLE + " .section .rodata\nv: .quad .Lt\n"
    assert "can't be followed" in refused(assemble(text, "-mpower10"))


@pytest.mark.parametrize("extend", ["extsh 9,9", "extsb 9,9", "clrldi 9,9,48", "clrldi 9,9,56"])
def test_a_part_of_an_entry_is_no_entry(assemble: Assemble, extend: str) -> None:
    jump = JUMP.replace("lwax 9,28,9\n", f"lwax 9,28,9\n {extend}\n")
    text = HEAD + " ld 28,.LC0@toc(2)\n.Lhead:\n" + jump + TABLE
    assert "can't be followed" in refused(assemble(text))


def test_what_the_first_instruction_of_a_block_makes_is_not_what_was_there_before(
    assemble: Assemble,
) -> None:
    """Where ways meet, a block begins with what makes r9 of what it held on each of them."""
    meet = (
        HEAD
        + " ld 28,.LC0@toc(2)\n.Lhead: cmpwi 4,0\n sldi 9,3,2\n beq 1f\n"
        + (" lwax 9,28,9\n b 2f\n1: lwax 9,28,9\n2: add 9,9,28\n mtctr 9\n bctr\n")
    )
    assert "2 entries up to a label" in explain(assemble(meet + TABLE))
    assert Join((1, 4), 9) != Definition((1, 4), 9)


def test_a_number_is_not_a_register_that_holds_nothing() -> None:
    assert Number(28) != Nothing(28, (1, 0))


CHANGES = {
    "a number": " addi 28,28,8\n",
    "an index": " add 28,28,4\n",
    "what memory holds": " ld 28,0(28)\n",
    "half of what memory holds": " lwa 28,0(28)\n",
    "what another register held": " mr 28,29\n mr 29,27\n mr 27,4\n",
    "what the stack held": " ld 28,-16(1)\n std 29,-16(1)\n mr 29,4\n",
    "its own low half": " clrldi 28,28,32\n",
    "a shift": " sldi 28,28,1\n",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_base_that_a_case_changes_is_refused(assemble: Assemble, change: str) -> None:
    """Whatever comes round only in the second or the third round."""
    base = " ld 28,.LC0@toc(2)\n mr 29,28\n mr 27,28\n std 28,-16(1)\n.Lhead:\n"
    assert "2 entries" in explain(assemble(HEAD + base + JUMP + TABLE))
    text = HEAD + base + JUMP + TABLE.replace(" b .Lhead", change + " b .Lhead")
    assert "can't be followed" in refused(assemble(text))


@pytest.mark.parametrize("copy", ["", " mr 27,28\n", " std 28,-16(1)\n ld 27,-16(1)\n"])
def test_what_comes_round_a_loop_is_seen_by_all_jumps(assemble: Assemble, copy: str) -> None:
    """Each of the two jumps may lead to both labels, whichever is looked at first."""
    back = copy + (" mr 28,27\n" if copy else "")
    jump = " mtctr 28\n bctr\n"
    text = HEAD + " cmpwi 3,0\n beq 2f\n ld 28,.LC0@toc(2)\n"
    text += f"1: cmpwi 4,0\n bne 3f\n{jump}2: ld 28,.LC1@toc(2)\n"
    text += f"3:{back} cmpwi 5,0\n bne 1b\n{jump}.La: li 3,1\n blr\n.Lb: li 3,2\n blr\n"
    text += ' .size f,.-f\n .section .toc,"aw"\n.LC0: .quad .La\n.LC1: .quad .Lb\n'
    branches = analyse(assemble(text)).branches
    assert [len(branch.reasons) for branch in branches] == [2, 2]


def test_a_branch_with_link_inside_the_function_is_a_way_in(assemble: Assemble) -> None:
    base = " mr 28,4\n bcl 20,31,.Lhead\n ld 28,.LC0@toc(2)\n"
    assert "can't be followed" in refused(assemble(HEAD + base + ".Lhead:\n" + JUMP + TABLE))


@pytest.mark.parametrize("base", [" {}", " std 28,-16(1)\n {}\n ld 28,-16(1)"])
@pytest.mark.parametrize(
    ("call", "allowed"),
    [("bl g", True), ("bl h", True), ("bl .Lin", False), ("bl .Lh", False), ("bl .Lfar", False)],
)
def test_what_is_called_and_is_no_function_may_change_anything(
    assemble: Assemble, base: str, call: str, allowed: bool
) -> None:
    """A subroutine of hand-written code keeps to rules of its own: r28 may be another table."""
    inside = TABLE.replace(" blr\n", " blr\n.Lin: mr 28,4\n blr\n")
    text = HEAD + " ld 28,.LC0@toc(2)\n" + base.format(call) + "\n.Lhead:\n" + JUMP + inside
    text += " .text\n .type h,@function\nh: nop\n nop\n nop\n.Lh: mr 28,4\n blr\n .size h,.-h\n"
    text += ' .section .text.far,"ax"\n.Lfar: mr 28,4\n blr\n'
    data = assemble(text)
    assert "2 entries" in explain(data) if allowed else "can't be followed" in refused(data)


@pytest.mark.parametrize("section", [".text", '.section .text.h,"ax"'])
@pytest.mark.parametrize("branch", ["b {}", "beq {}", "bl {}", "bcl 20,31,{}"])
def test_a_branch_from_another_function_into_the_middle_is_a_way_in(
    assemble: Assemble, branch: str, section: str
) -> None:
    """By which convention the middle of a function is called nobody knows."""
    text = HEAD + " ld 28,.LC0@toc(2)\n nop\n nop\n nop\n.Lhead:\n" + JUMP + TABLE
    text += f" {section}\n .type h,@function\nh: mr 28,4\n {branch}\n nop\n blr\n .size h,.-h\n"
    assert "2 entries" in explain(assemble(text.format("f")))
    assert "can't be followed" in refused(assemble(text.format(".Lhead")))


@pytest.mark.parametrize(
    ("name", "is_part"), [("", True), ("f.cold", True), ("f.cold.1", True), ("h", False)]
)
def test_a_part_of_a_function_holds_what_the_rest_left_there(
    assemble: Assemble, name: str, is_part: bool
) -> None:
    """A function of its own is called: by the ABI, r28 is nothing that it reads."""
    begin = f" .type {name},@function\n{name}:\n" if name else ""
    text = HEAD + " mr 28,4\n cmpwi 3,1\n beq .Lother\n blr\n .size f,.-f\n"
    text += f' .section .text.other,"ax"\n{begin}.Lother: cmpwi 3,2\n beq .Lhead\n'
    text += " ld 28,.LC0@toc(2)\n.Lhead:\n" + JUMP + TABLE.replace(" .size f,.-f\n", "")
    data = assemble(text)
    assert "can't be followed" in refused(data) if is_part else "2 entries" in explain(data)


def test_a_cold_part_is_not_called(assemble: Assemble) -> None:
    """Its registers are those of the function, arguments' among them."""
    text = HEAD + " ld 10,.LC0@toc(2)\n cmpwi 3,1\n beq .Lother\n blr\n .size f,.-f\n"
    text += ' .section .text.other,"ax"\n .type {0},@function\n{0}:\n.Lother: sldi 9,3,2\n'
    text += " lwax 9,10,9\n add 9,9,10\n mtctr 9\n bctr\n.Lt: .long .La-.Lt, .Lb-.Lt\n"
    text += '.La: li 3,1\n.Lb: blr\n .section .toc,"aw"\n.LC0: .quad .Lt\n'
    assert "2 entries" in explain(assemble(text.format("f.cold")))
    assert "can't be followed" in refused(assemble(text.format("h")))


def test_a_prefix_at_the_end_of_a_section_is_refused_unless_it_is_data(
    assemble: Assemble,
) -> None:
    text = HEAD + " ld 28,.LC0@toc(2)\n.Lhead:\n" + JUMP
    text += TABLE.replace(" .size f,.-f\n", " .size f,.-f\n{}{}")
    last = "o: .long 0x04000000\n"
    assert "is cut off by the end" in refused(assemble(text.format("", last)))
    data = assemble(text.format("", last + " .type o,@object\n .size o,4\n"))
    assert "2 entries" in explain(data)


@pytest.mark.parametrize("binding", ["globl", "weak"])
def test_a_label_in_the_middle_that_other_objects_see_is_a_way_in(
    assemble: Assemble, binding: str
) -> None:
    """By which convention they come there nobody knows; a function of its own follows the ABI's."""
    text = HEAD + " ld 28,.LC0@toc(2)\nmiddle:\n.Lhead:\n" + JUMP + TABLE
    assert "2 entries" in explain(assemble(text))
    assert "can't be followed" in refused(assemble(text + f" .{binding} middle\n"))
    twice = HEAD + " b 0f\nmiddle: .type middle,@function\n0: ld 28,.LC0@toc(2)\n"
    twice += ".Lhead:\n" + JUMP + TABLE + f" .{binding} middle\n"
    assert "2 entries" in explain(assemble(twice))


@pytest.mark.parametrize("section", [".text", '.section .text.h,"ax"'])
def test_a_label_that_another_function_takes_the_address_of_is_a_way_in(
    assemble: Assemble, section: str
) -> None:
    """The assembler may have resolved that, and nothing marks it."""
    text = HEAD + " ld 28,.LC0@toc(2)\n cmpwi 4,0\n beq .Lhead\n mr 28,5\n ld 12,0(4)\n mtctr 12\n"
    text += " bctr\n.Lx: nop\n.Lhead:\n" + JUMP + TABLE
    other = f" {section}\n .type h,@function\nh: {{}} std 3,0(4)\n blr\n .size h,.-h\n"
    assert len(analyse(assemble(text + other.format(""), "-mpower10")).branches) == 2
    taken = text + other.format(" pla 3,.Lx@pcrel\n")
    assert "can't be followed" in refused(assemble(taken, "-mpower10"))


def test_what_the_case_of_a_case_makes_is_seen(assemble: Assemble) -> None:
    """Each case is found only when the one before it is."""
    text = HEAD + " ld 28,.LC0@toc(2)\n.Lhead: mtctr 28\n bctr\n"
    text += ".La: ld 28,{}\n b .Lhead\n.Lb: {}\n b .Lhead\n .size f,.-f\n"
    words = ' .section .toc,"aw"\n.LC0: .quad .La\n.LC1: .quad .Lb\n'
    assert "the address .text+0x14" in explain(assemble(text.format(".LC1@toc(2)", "nop") + words))
    unknown = text.format(".LC1@toc(2)", "addi 28,4,4") + words
    assert "can't be followed" in refused(assemble(unknown))
    # Only from where a pointer leads.
    pointer = text.format("0(5)", "addi 28,4,4") + words
    assert "can't be followed" in refused(assemble(pointer))
    pointer = pointer.replace(".LC1: .quad .Lb\n", "")
    assert "a pointer from memory" in explain(assemble(pointer))


def test_a_long_chain_of_comparisons_is_followed(assemble: Assemble) -> None:
    chain = "".join(f" cmpwi 3,{number}\n beq .Lb\n" for number in range(1500))
    text = HEAD + " ld 28,.LC0@toc(2)\n.Lhead:\n" + chain + JUMP + TABLE
    assert "2 entries" in explain(assemble(text))


# -- how many entries there are ----------------------------------------------------------------

BOUNDS = {
    "cmplwi": " cmplwi 3,1\n bgt .Lb\n sldi 9,3,2\n",
    "cmpwi less than": " cmpwi 3,2\n bge .Lb\n sldi 9,3,2\n",
    "a mask": " clrldi 3,3,63\n sldi 9,3,2\n",
    "a mask and shift in one": " rldic 9,3,2,61\n",
    "a comparison of a copy": " mr 5,3\n cmplwi 5,1\n bgt .Lb\n extsw 3,3\n sldi 9,3,2\n",
    "a comparison before a spill": " cmplwi 3,1\n std 3,-8(1)\n bgt .Lb\n ld 3,-8(1)\n"
    " sldi 9,3,2\n",
    "a comparison two blocks before": " cmplwi 3,1\n bgt .Lb\n cmpwi 4,0\n beq .Lb\n sldi 9,3,2\n",
}


@pytest.mark.parametrize("bound", BOUNDS.values(), ids=BOUNDS.keys())
def test_the_bound_agrees_with_the_extent(assemble: Assemble, bound: str) -> None:
    text = HEAD + " ld 28,.LC0@toc(2)\n.Lhead:\n" + bound + JUMP.split("\n", 1)[1] + TABLE
    assert "2 entries, as its index allows" in explain(assemble(text))


NO_BOUNDS = {
    "a value loaded behind the comparison": " cmplwi 3,0\n bgt .Lb\n cmpwi 4,0\n beq 0f\n"
    " lwz 3,0(4)\n0: sldi 9,3,2\n",
    "a value that another way changes last": " cmplwi 3,0\n bgt .Lb\n cmpwi 4,0\n bne 1f\n"
    " b 0f\n1: lwz 3,0(4)\n0: sldi 9,3,2\n",
    "an older copy of what is compared": "0: mr 5,3\n cmpwi 4,0\n beq 1f\n lwz 3,0(4)\n"
    "1: cmplwi 3,0\n bgt .Lb\n cmpwi 6,0\n beq 0b\n sldi 9,5,2\n",
    "a variable that a call may change": " stw 3,-8(1)\n cmplwi 3,0\n bgt .Lb\n addi 3,1,-8\n"
    " bl g\n nop\n lwz 3,-8(1)\n sldi 9,3,2\n",
}


@pytest.mark.parametrize("bound", NO_BOUNDS.values(), ids=NO_BOUNDS.keys())
def test_a_comparison_of_another_value_is_no_bound(assemble: Assemble, bound: str) -> None:
    """Were it taken for one, the index would be said to allow a single entry."""
    text = HEAD + " ld 28,.LC0@toc(2)\n.Lhead:\n" + bound + JUMP.split("\n", 1)[1] + TABLE
    assert explain(assemble(text)).endswith(": 2 entries up to a label")


def test_a_table_ends_where_another_one_that_something_names_begins(assemble: Assemble) -> None:
    second = ".La: bl g", ".Lu: .long .Lb-.Lt\n.La: bl g"
    named = TABLE.replace(*second) + ".LC1: .quad .Lu\n"
    text = HEAD + " ld 28,.LC0@toc(2)\n.Lhead:\n" + JUMP
    assert "3 entries" in explain(assemble(text + TABLE.replace(*second)))
    assert "what follows is no code" in refused(assemble(text + named))


def test_an_entry_that_leads_to_another_function_is_refused(assemble: Assemble) -> None:
    """A linker's relocation shows that the table goes on."""
    table = TABLE.replace(".La: bl g", " .long other-.Lt\n.La: bl g")
    text = HEAD + " ld 28,.LC0@toc(2)\n.Lhead:\n" + JUMP + table
    assert "leads to no instruction of the function" in refused(assemble(text))


RODATA = """
.La: bl g
 nop
 b .Lhead
.Lb: blr
 .size f,.-f
 .section .rodata
.Lt: .long .La-.Lt, .Lb-.Lt
 .section .toc,"aw"
.LC0: .quad .Lt
"""


@pytest.mark.parametrize(("last", "ends"), [(1, "as its index allows"), (0, "stays below 1")])
def test_a_relocated_table_in_data_agrees_with_its_bound(
    assemble: Assemble, last: int, ends: str
) -> None:
    bound = f" cmplwi 3,{last}\n bgt .Lb\n"
    data = assemble(HEAD + " ld 28,.LC0@toc(2)\n.Lhead:\n" + bound + JUMP + RODATA)
    assert ends in (explain(data) if last else refused(data))


def test_a_proved_switch_leads_to_no_label_but_its_cases(assemble: Assemble) -> None:
    """A label whose address data holds is entered by jumps that may lead anywhere."""
    text = HEAD + " ld 28,.LC0@toc(2)\n ld 27,.LC1@toc(2)\n cmpwi 4,0\n beq .Lhead\n mr 28,5\n"
    text += "{}.Lu: .long .Lc-.Lu, .Lc-.Lu\n.Lc: blr\n.Lhead:\n" + JUMP + TABLE
    text += '.LC1: .quad .Lu\n .section .data.rel.ro,"aw"\n .quad .Lhead\n'
    switch = assemble(text.format(JUMP.replace("28", "27")))
    assert [branch.kind for branch in analyse(switch).branches] == ["switch", "switch"]
    pointer = " ld 9,0(3)\n mtctr 9\n bctr\n"
    assert "can't be followed" in refused(assemble(text.format(pointer)))


def test_a_loop_that_only_a_table_leads_to_is_not_seen_before_the_table(
    assemble: Assemble,
) -> None:
    """GCC at -O1 has one jump for all of a computed goto's: a case with a loop goes back to it."""
    again = " sldi 9,3,2\n lwax 9,28,9\n add 9,9,28\n"
    text = HEAD + f" ld 28,.LC0@toc(2)\n{again}.Lhead: mtctr 9\n bctr\n"
    text += ".Lt: .long .La-.Lt, .Lb-.Lt\n.La: nop\n0: addi 4,4,-1\n cmpwi 4,0\n bne 0b\n"
    text += f"{{}}{again} b .Lhead\n.Lb: blr\n .size f,.-f\n"
    text += ' .section .toc,"aw"\n.LC0: .quad .Lt\n'
    assert "2 entries" in explain(assemble(text.format("")))
    assert "can't be followed" in refused(assemble(text.format(" mr 28,5\n")))


def test_two_jumps_through_one_table_lead_to_its_cases(assemble: Assemble) -> None:
    """GCC puts one copy of a switch's jump behind each of its ways in."""
    jumps = " ld 28,.LC0@toc(2)\n cmpwi 4,0\n beq 1f\n.Lhead:\n" + JUMP + "1:" + JUMP
    case = TABLE.replace(" ld 28,-32(1)\n blr\n", " {}\n b .Lhead\n")
    branches = analyse(assemble(HEAD + jumps + case.format("nop"))).branches
    assert [branch.kind for branch in branches] == ["switch", "switch"]
    assert "can't be followed" in refused(assemble(HEAD + jumps + case.format("mr 28,4")))


def test_what_the_case_of_a_cases_table_makes_is_seen(assemble: Assemble) -> None:
    """The second table is found in one round, what its cases do in the next."""
    text = HEAD + " ld 10,.LC0@toc(2)\n ld 9,.LC1@toc(2)\n.Lhead: sldi 8,3,2\n lwax 8,9,8\n"
    text += " add 8,8,10\n mtctr 8\n bctr\n.La: ld 9,.LC2@toc(2)\n b .Lhead\n.Lb: blr\n"
    text += ".Lc: {}\n b .Lhead\n .size f,.-f\n .section .rodata\n"
    text += "t: .long .La-.Lb, 0\nu: .long .Lc-.Lb, 0\n"
    text += ' .section .toc,"aw"\n.LC0: .quad .Lb\n.LC1: .quad t\n.LC2: .quad u\n'
    (branch,) = analyse(assemble(text.format("nop"))).branches
    assert len(branch.reasons) == 2
    assert "can't be followed" in refused(assemble(text.format("mr 10,4")))


def test_data_that_looks_like_a_jump_is_none(assemble: Assemble) -> None:
    data = " .type o,@object\no: .long 0x4e800420\n .size o,4\n"
    text = (
        HEAD + " ld 28,.LC0@toc(2)\n.Lhead:\n" + JUMP + TABLE.replace(" .size f", data + " .size f")
    )
    assert "2 entries" in explain(assemble(text))


# -- sums with labels, where a jump's target was kept in memory --------------------------------

ARITHMETIC = (
    HEAD
    + " ld 10,.LC0@toc(2)\n ld 11,.LC1@toc(2)\n ld 8,.LC2@toc(2)\n ld 7,.LC3@toc(2)\n"
    + "{sum} std 10,0(4)\n {target}\n mtctr 9\n bctr\n"
    + ".Lx: li 3,1\n.Ly: bl g\n nop\n blr\n .size f,.-f\n"
    + " .section .rodata\nt: .long .Lx-.Ly, .Ly-.Ly, .Lx-.Ly\n .type t,@object\n .size t,12\n"
    + ' .section .toc,"aw"\n.LC0: .quad .Lx\n.LC1: .quad .Ly\n.LC2: .quad t\n.LC3: .quad f\n'
)
MEMORY = "ld 9,0(3)"
LABELS = {
    "a label and something": (" add 10,10,5\n", MEMORY, False),
    "something and a label": (" add 10,5,10\n", MEMORY, False),
    "a label less something": (" subf 10,5,10\n", MEMORY, False),
    "a label less another one": (" subf 10,11,10\n", MEMORY, True),
    "something less a label": (" subf 10,10,5\n", MEMORY, True),
    "a label and what a table holds that no jump is seen to use": (
        " sldi 6,5,2\n lwax 6,8,6\n add 10,11,6\n", MEMORY, False),
    "a label and what a table holds that a jump uses": (
        " sldi 6,5,2\n lwax 6,8,6\n add 10,11,6\n cmpwi 3,1\n bne 0f\n mtctr 10\n bctr\n0:\n",
        MEMORY, True),
    "a table's address and something": (" add 10,8,5\n", MEMORY, True),
    "a function's address and something": (" add 10,7,5\n", MEMORY, True),
    "neither": (" add 10,5,6\n", MEMORY, True),
    "a label or something": (" or 10,10,5\n", MEMORY, True),
    "a label and something, where a label is the target": (
        " add 10,10,5\n", "ld 9,.LC1@toc(2)", True),
}  # fmt: skip


@pytest.mark.parametrize(("code", "target", "allowed"), LABELS.values(), ids=LABELS.keys())
def test_what_reaches_memory_that_a_jump_reads_is_not_the_sum_of(
    assemble: Assemble, code: str, target: str, allowed: bool
) -> None:
    data = assemble(ARITHMETIC.format(sum=code, target=target))
    if allowed:
        assert analyse(data).branches
    else:
        assert "a distance of unknown origin is added to a label" in refused(data)


# -- what is found is told to the layout -------------------------------------------------------


def test_addresses_from_memory_are_read_in_functions_with_a_computed_goto(
    assemble: Assemble,
) -> None:
    """Not where r12 has the address too, a tail call, nor where a label's is the only one."""
    read = {
        " ld 9,0(3)\n mtctr 9\n bctr\n": [(0, 12)],
        " ld 12,0(3)\n mtctr 12\n bctr\n": [],
        " ld 9,.LC0@toc(2)\n mtctr 9\n bctr\n.La: blr\n": [],
    }
    words = ' .size f,.-f\n .section .toc,"aw"\n.LC0: .quad .La\n'
    for code, extents in read.items():
        found = analyse(assemble(HEAD + code + words)).read_addresses
        assert [extent for own in found.values() for extent in own] == extents


def test_a_table_in_code_keeps_its_alignment_and_a_case_at_the_end_of_code_stays_there(
    assemble: Assemble,
) -> None:
    text = HEAD + " ld 28,.LC0@toc(2)\n.Lhead:\n" + JUMP
    text += ".Lt: .long .La-.Lt, .Lend-.Lt\n.La: b .Lhead\n.Lend:\n .size f,.-f\n"
    found = analyse(assemble(text + ' .section .toc,"aw"\n.LC0: .quad .Lt\n'))
    ((region,),) = found.regions.values()
    assert (region.start, region.end, region.alignment) == (24, 32, 4)
    ((first, second),) = found.differences.values()
    assert (first.target, first.side, first.base) == (32, "start", 24)
    assert (second.target, second.side, second.base) == (36, "after", 24)
    wide = HEAD + " ld 28,.LC0@toc(2)\n sldi 9,3,3\n ldx 9,28,9\n mtctr 9\n bctr\n .align 3\n"
    wide += ".Lt: .quad .La, .La\n.La: blr\n .size f,.-f\n"
    found = analyse(assemble(wide + ' .section .toc,"aw"\n.LC0: .quad .Lt\n'))
    ((region,),) = found.regions.values()
    assert (region.start, region.end, region.alignment) == (24, 40, 8)
    assert not found.differences


def test_an_entry_with_a_relocation_counts_from_its_table(assemble: Assemble) -> None:
    text = HEAD + " ld 28,.LC0@toc(2)\n.Lhead:\n" + JUMP + ".La: li 3,1\n.Lb: blr\n"
    text += " .size f,.-f\n .section .rodata\n .zero 4\n.Lt: .long .La-.Lt, .Lb-.Lt\n"
    found = analyse(assemble(text + ' .section .toc,"aw"\n.LC0: .quad .Lt\n'))
    assert sorted((place, base) for (_, place), base in found.base_relative.items()) == [
        (4, 4), (8, 4),
    ]  # fmt: skip
    assert not found.differences


def test_a_table_that_two_jumps_read_differently_is_refused(assemble: Assemble) -> None:
    """Its numbers would be distances from two places."""
    jump = " sldi 9,3,2\n lwax 9,28,9\n add 9,9,10\n mtctr 9\n bctr\n"
    text = HEAD + " ld 28,.LC0@toc(2)\n ld 10,.LC1@toc(2)\n cmpwi 4,0\n beq 1f\n" + jump
    text += "1: ld 10,{}@toc(2)\n" + jump + ".La: li 3,1\n.Lb: li 3,2\n blr\n .size f,.-f\n"
    text += " .section .rodata\n.Lt: .long .La-.Lb, 0\n"
    text += ' .section .toc,"aw"\n.LC0: .quad .Lt\n.LC1: .quad .Lb\n.LC2: .quad .La\n'
    assert len(analyse(assemble(text.format(".LC1"))).branches) == 2
    assert "two branches use the table at" in refused(assemble(text.format(".LC2")))


# -- label differences, which nothing marks ----------------------------------------------------

DIFFERENCES = """
.La: li 3,1
.Lb: blr
 .size f,.-f
 .section .rodata
 .type t,@object
t: .long .La-.Lb, .Lb-.Lb, .La-.Lb
 .size t,.-t
 .section .toc,"aw"
.LC0: .quad .Lb
.LC1: .quad t{offset}
"""
LOAD = " ld 10,.LC0@toc(2)\n ld 9,.LC1@toc(2)\n"
GOTO = " sldi 3,3,2\n lwax 9,9,3\n add 9,9,10\n mtctr 9\n bctr\n"


def test_label_differences_end_with_their_symbol(assemble: Assemble) -> None:
    text = HEAD + LOAD + GOTO + DIFFERENCES.format(offset="")
    assert "label differences at .rodata+0x0: 3 entries, all of its symbol" in explain(
        assemble(text)
    )


def test_label_differences_entered_in_their_middle_are_refused(assemble: Assemble) -> None:
    text = HEAD + LOAD + GOTO + DIFFERENCES.format(offset="+4")
    assert "entered in its middle" in refused(assemble(text))


def test_label_differences_by_a_variable_that_others_may_change_are_refused(
    assemble: Assemble,
) -> None:
    passed = " std 9,-16(1)\n addi 3,1,-16\n bl g\n nop\n ld 9,-16(1)\n"
    text = HEAD + LOAD + "{}" + GOTO + DIFFERENCES.format(offset="")
    assert "may have changed" in refused(assemble(text.format(passed)))
    assert "3 entries" in explain(assemble(text.format(passed.replace(" addi 3,1,-16\n", ""))))


def test_entries_cut_to_32_bits_behind_a_sign_are_refused(assemble: Assemble) -> None:
    halves = DIFFERENCES.replace(".long", ".short").format(offset="")
    text = HEAD + LOAD + GOTO.replace("sldi 3,3,2\n lwax", "sldi 3,3,1\n lhax") + halves
    assert "3 entries" in explain(assemble(text))
    cut = text.replace(" add 9", " clrldi 9,9,32\n add 9")
    assert "can't be followed" in refused(assemble(cut))


def test_a_number_added_to_a_label_is_refused(assemble: Assemble) -> None:
    text = HEAD + " ld 9,.LC0@toc(2)\n addi 9,9,.Lb-.La\n mtctr 9\n bctr\n"
    assert "computed" in refused(assemble(text + DIFFERENCES.format(offset="")))


# -- jumps through pointers --------------------------------------------------------------------


def test_a_target_that_went_through_memory_needs_no_proof_but_its_table_does(
    assemble: Assemble,
) -> None:
    jump = JUMP.replace(" mtctr 9", " std 9,0(4)\n ld 12,0(4)\n mtctr 12")
    text = HEAD + " ld 28,.LC0@toc(2)\n.Lhead:\n" + jump
    assert "distance of unknown origin" in refused(assemble(text + RODATA))
    assert "tail call" in explain(assemble(HEAD + " ld 12,0(4)\n mtctr 12\n bctr\n .size f,.-f\n"))


def test_a_jump_through_r12_may_be_a_computed_goto(assemble: Assemble) -> None:
    """Its labels are ways in, one that begins with padding among them."""
    text = HEAD + " ld 28,.LC0@toc(2)\n cmpwi 4,0\n beq .Lhead\n mr 28,5\n ld 12,0(4)\n mtctr 12\n"
    text += " bctr\n.Lx: nop\n.Lhead:\n" + JUMP + TABLE
    label = ' .section .data.rel.ro,"aw"\n .quad .Lx\n'
    assert len(analyse(assemble(text)).branches) == 2
    assert "can't be followed" in refused(assemble(text + label))


def test_clang_large_model_distances_from_a_label_are_proved(assemble: Assemble) -> None:
    text = (
        HEAD
        + " cmplwi 3,1\n bgt .Lb\n bl .+4\n.Lp: mflr 5\n ld 6,.LC0@toc(2)\n rldic 3,3,2,30\n"
        + " lwax 3,3,6\n add 3,3,5\n mtctr 3\n bctr\n.La: li 3,1\n.Lb: blr\n .size f,.-f\n"
        + ' .section .rodata\n.Lt: .long .La-.Lp, .Lb-.Lp\n .section .toc,"aw"\n.LC0: .quad .Lt\n'
    )
    assert "label differences at .rodata+0x0: 2 entries" in explain(assemble(text))


def test_a_jump_through_the_link_register_is_not_a_return(assemble: Assemble) -> None:
    text = HEAD + " ld 28,.LC0@toc(2)\n.Lhead:\n"
    jump = JUMP.replace("mtctr 9", "mtlr 9").replace("bctr", "blr")
    assert "2 entries" in explain(assemble(text + jump + TABLE))


# GCC under register pressure: gcc.dg/torture/pr19683-1.c, pr78997.c for power10.
KEEP = HEAD + " mflr 0\n std 0,16(1)\n addi 9,4,-1\n mtlr 9\n"
RETURN = " mflr 9\n ld 0,16(1)\n mtlr 0\n blr\n"
END = " .size f,.-f\n"


@pytest.mark.parametrize("between", ["", " cmpwi 3,1\n beq 0f\n mtlr 9\n0:\n", "0: bdnz 0b\n"])
def test_a_value_that_is_only_kept_in_lr_is_no_target(assemble: Assemble, between: str) -> None:
    branches = analyse(assemble(KEEP + between + RETURN + END)).branches
    assert {branch.kind for branch in branches} == {"spill"}


WAYS_OUT = {
    "a return on one path": " cmpwi 3,1\n beqlr\n",
    "a return behind a branch": " cmpwi 3,1\n bne 0f\n blr\n0:\n",
    "a call through LR": " blrl\n nop\n",
    "a tail call": " cmpwi 3,1\n bne 0f\n b g\n0:\n",
    "a tail call that the assembler resolves": " cmpwi 3,1\n bne 0f\n b h\n0:\n",
    "a jump through CTR": " mr 12,5\n mtctr 12\n beqctr\n",
    "the end of the function": " cmpwi 3,1\n beq 9f\n",
}


@pytest.mark.parametrize("trap", ["twi 31,0,0", "trap", "td 31,0,0", "tdi 31,0,0"])
def test_behind_a_trap_that_ends_a_function_nothing_sees_lr(assemble: Assemble, trap: str) -> None:
    """Linux 7.2's block/badblocks.c with GCC 16: BUG() is the last that badblocks_clear() has."""
    text = KEEP + WAYS_OUT["the end of the function"] + RETURN + "9: {}\n" + END
    branches = analyse(assemble(text.format(trap))).branches
    assert {branch.kind for branch in branches} == {"spill"}
    assert "can't be followed" in refused(assemble(text.format("tweqi 3,0")))


@pytest.mark.parametrize("way", WAYS_OUT.values(), ids=WAYS_OUT.keys())
def test_a_value_in_lr_that_a_way_out_sees_may_be_a_target(assemble: Assemble, way: str) -> None:
    last = "9: nop\n" if "9f" in way else ""
    other = " .type h,@function\nh: blr\n .size h,.-h\n" if "b h" in way else ""
    text = assemble(KEEP + way + RETURN + last + END + other)
    assert "can't be followed" in refused(text)


@pytest.mark.parametrize(("target", "stays"), [("h", False), ("f", False), (".Lin", True)])
def test_a_jump_to_an_address_out_of_the_function_sees_what_lr_keeps(
    assemble: Assemble, target: str, stays: bool
) -> None:
    """One to the function's own entry is a call."""
    jump = " cmpwi 3,1\n bne 0f\n ld 10,.LC0@toc(2)\n mtctr 10\n bctr\n0:.Lin:\n"
    other = " .type h,@function\nh: blr\n .size h,.-h\n"
    toc = f' .section .toc,"aw"\n.LC0: .quad {target}\n'
    data = assemble(KEEP + jump + RETURN + END + other + toc)
    if stays:
        assert {branch.kind for branch in analyse(data).branches} == {"spill", "computed goto"}
    else:
        assert "can't be followed" in refused(data)


CALLEES = {
    "__stack_chk_fail": False,
    "__ubsan_handle_add_overflow_abort": False,
    "__cxa_throw": False,
    "_Unwind_Resume": False,
    "__ubsan_handle_add_overflow": True,
    "__asan_report_load4": False,
    "__asan_report_load4_noabort": True,
    "g_abort": True,
}


@pytest.mark.parametrize(("callee", "returns"), CALLEES.items())
def test_nothing_comes_back_from_what_compilers_call_last(
    assemble: Assemble, callee: str, returns: bool
) -> None:
    """Linux 7.2's rdma_rxe: the call stands in front of a block in the loop around a switch."""
    fails = f"9: mr 28,5\n bl {callee}\n nop\n.Lmore: b .Lhead\n"
    case = TABLE.replace("b .Lhead", "b .Lmore").replace(" blr\n", " blr\n" + fails)
    guarded = " ld 28,.LC0@toc(2)\n cmpdi 6,0\n bne 9f\n.Lhead:\n"
    text = HEAD + guarded + JUMP + case
    if returns:
        assert "can't be followed" in refused(assemble(text))
    else:
        assert "2 entries" in explain(assemble(text))


# GCC 16 keeps values in LR around switches; Linux 7.2 has hundreds of such functions.
AROUND_A_SWITCH = (
    HEAD
    + " cmpdi 3,0\n beqlr\n ld 28,.LC0@toc(2)\n mflr 0\n std 0,16(1)\n addi 9,4,-1\n mtlr 9\n"
    + ".Lhead:\n"
    + JUMP
    + TABLE.replace(" ld 28,-32(1)\n blr\n", "{last}")
)
REFERRED = {
    "nobody's": "",
    "in data": ' .section .data.rel.ro,"aw"\n .quad f\n',
    "exported": ' .section ___ksymtab+f,"a"\n .long f-., 0, 0\n',
}


@pytest.mark.parametrize("address", REFERRED.values(), ids=REFERRED.keys())
def test_a_proved_switch_is_no_way_out_for_what_lr_keeps(assemble: Assemble, address: str) -> None:
    """Nor is a function's entry a label, whoever holds its address."""
    kept = assemble(AROUND_A_SWITCH.format(last=RETURN) + address)
    assert {branch.kind for branch in analyse(kept).branches} == {"spill", "switch"}
    seen = assemble(AROUND_A_SWITCH.format(last=" blr\n") + address)
    assert "can't be followed" in refused(seen)


def test_a_call_leaves_nothing_of_what_lr_kept(assemble: Assemble) -> None:
    """Linux 7.2's xfs has addresses of labels (_THIS_IP_); whoever was called may go there."""
    text = HEAD + " cmpdi 3,0\n beq .Lout\n" + KEEP.removeprefix(HEAD) + " bl g\n nop\n"
    address = ' .section .data.rel.ro,"aw"\n .quad .Lout\n'
    kept = assemble(text + RETURN.replace(" mflr 9\n", "") + ".Lout: blr\n" + END + address)
    assert {branch.kind for branch in analyse(kept).branches} == {"spill"}


def test_a_label_of_the_function_may_be_entered_with_what_lr_keeps(assemble: Assemble) -> None:
    """By a computed goto that nothing is known of: it may lead to the early return."""
    text = KEEP + " ld 10,0(5)\n mtctr 10\n bctr\n" + RETURN + ".Lout: blr\n" + END
    address = ' .section .data.rel.ro,"aw"\n .quad .Lout\n'
    assert "can't be followed" in refused(assemble(text + address))


def test_a_distance_from_memory_that_a_return_goes_to_is_refused(assemble: Assemble) -> None:
    text = HEAD + " ld 10,.LC0@toc(2)\n lwa 9,8(3)\n add 9,9,10\n mtlr 9\n blr\n"
    assert "can't be followed" in refused(assemble(text + DIFFERENCES.format(offset="")))


# What asm goto of the kernel's static keys leaves behind: `1` is patched, `2` is where it may lead.
JUMP_LABEL = ' .pushsection __jump_table,"aw"\n .long 1b-., 2f-.\n .8byte key-.\n .popsection\n'


def test_a_jump_label_leads_to_its_target_from_its_own_place_only(assemble: Assemble) -> None:
    """Linux 6.1's kernel/sched/fair.c: the early return of task_numa_fault."""
    early = HEAD + "1: nop\n" + JUMP_LABEL + KEEP.removeprefix(HEAD)
    elf = assemble(early + RETURN.replace("blr", "2: blr") + END)
    assert {branch.kind for branch in analyse(elf).branches} == {"spill"}


def test_a_jump_label_after_a_write_to_lr_sees_it(assemble: Assemble) -> None:
    late = KEEP + "1: nop\n" + JUMP_LABEL + RETURN.replace("blr", "2: blr")
    assert "can't be followed" in refused(assemble(late + END))


# The kernel writes another instruction over the one at `1`, which goes on as that did.
IN_PLACE = ' .pushsection {},"a"\n .8byte 1b-.\n .popsection\n'


@pytest.mark.parametrize("section", ["__barrier_nospec_fixup", "__lwsync_fixup"])
def test_an_instruction_that_is_patched_in_place_is_no_way_in(
    assemble: Assemble, section: str
) -> None:
    """Linux 7.2's arch/powerpc/kernel/vecemu.c: get_user() has a barrier against speculation."""
    early = HEAD + " cmpdi 3,0\n1: nop\n" + IN_PLACE.format(section) + " beqlr\n"
    elf = assemble(early + KEEP.removeprefix(HEAD) + RETURN + END)
    assert {branch.kind for branch in analyse(elf).branches} == {"spill"}


def test_where_the_kernel_may_go_on_after_an_interrupt_is_a_way_in(assemble: Assemble) -> None:
    early = HEAD + " cmpdi 3,0\n1: nop\n" + IN_PLACE.format("__restart_table") + " beqlr\n"
    assert "can't be followed" in refused(assemble(early + KEEP.removeprefix(HEAD) + RETURN + END))


# A WARN_ON of Linux 5.13 to 6.x: `1` traps, and the kernel goes on at `2`.
EXCEPTION = ' .pushsection __ex_table,"a"\n .balign 4\n .long {}-., {}-.\n .popsection\n'


LOOP = (
    HEAD
    + " ld 28,.LC0@toc(2)\n.Lhead:\n"
    + JUMP
    + TABLE.replace(" nop\n b", "{case} nop\n b").replace(" .size", "2: li 4,1\n b .Lhead\n .size")
)


@pytest.mark.parametrize("fault", ["twi 31,0,0", "lwz 29,0(5)"])
def test_what_mends_a_fault_is_entered_from_the_instruction_that_faults(
    assemble: Assemble, fault: str
) -> None:
    """Linux 6.1's drivers/media/usb/ttusb-dec: a switch in a loop with a WARN_ON."""
    text = LOOP.format(case=f"1: {fault}\n ld 28,0(5)\n ld 28,.LC0@toc(2)\n")
    assert "2 entries" in explain(assemble(text + EXCEPTION.format("1b", "2b")))


@pytest.mark.parametrize("fault", [" ld 28,0(5)\n1: twi 31,0,0\n", "1: lq 28,0(5)\n"])
def test_what_an_instruction_that_faults_sees_reaches_what_mends_it(
    assemble: Assemble, fault: str
) -> None:
    """Of several registers some may have been loaded."""
    text = LOOP.format(case=fault + " ld 28,.LC0@toc(2)\n")
    assert "can't be followed" in refused(assemble(text + EXCEPTION.format("1b", "2b")))


def test_what_mends_a_fault_elsewhere_may_be_entered_with_anything(assemble: Assemble) -> None:
    other = " .text\n .type h,@function\nh:\n1: twi 31,0,0\n blr\n .size h,.-h\n"
    text = LOOP.format(case="") + other + EXCEPTION.format("1b", "2b")
    assert "2 entries" in explain(assemble(text.replace(EXCEPTION.format("1b", "2b"), "")))
    text = text.replace(".La: bl g", ".La: ld 28,0(5)\n bl g\n ld 28,.LC0@toc(2)")
    assert "can't be followed" in refused(assemble(text))


@pytest.mark.parametrize("patched", ["nop", "b 2f"])
@pytest.mark.parametrize("between", [" addi 28,28,8\n", " nop\n"])
def test_a_jump_label_falls_through_whatever_is_there(
    assemble: Assemble, patched: str, between: str
) -> None:
    text = HEAD + f" ld 28,.LC0@toc(2)\n1: {patched}\n{JUMP_LABEL}{between}2:\n.Lhead:\n"
    elf = assemble(text + JUMP + TABLE)
    if "addi" in between:
        assert "can't be followed" in refused(elf)
    else:
        assert "2 entries" in explain(elf)


@pytest.mark.parametrize(
    ("routine", "kept"),
    [("_restgpr0_14", True), ("_restfpr_14", True), ("_restgpr1_14", False), ("_restvr_20", False)],
)
def test_a_routine_that_restores_lr_on_the_way_out_doesnt_see_it(
    assemble: Assemble, routine: str, kept: bool
) -> None:
    """GCC 11 at -Os: gcc.dg/torture/pr19683-1.c."""
    elf = assemble(KEEP + f" mflr 9\n b {routine}\n" + END)
    if kept:
        assert {branch.kind for branch in analyse(elf).branches} == {"spill"}
    else:
        assert "can't be followed" in refused(elf)


def test_a_landing_pad_is_entered_from_the_calls_of_its_call_sites_only(
    assemble: Assemble,
) -> None:
    """The base is restored before another call, which has no landing pad."""
    text = (
        HEAD
        + " .cfi_startproc\n .cfi_lsda 0x14,.Llsda\n std 28,-32(1)\n ld 28,.LC0@toc(2)\n.Lhead:\n"
        + JUMP
        + TABLE.replace("ld 28,-32(1)\n", "ld 28,0(4)\n{restored} bl g\n{behind} nop\n")
        .replace(".La: bl g\n", ".La: bl g\n.Lv: nop\n")
        .replace(" .size", ".Lpad: addi 29,29,1\n b .Lhead\n .cfi_endproc\n .size")
        + ' .section .gcc_except_table,"a"\n.Llsda: .byte 255,255,1\n .uleb128 1f-0f\n'
        + "0: .uleb128 {start}-f,{end}-{start},.Lpad-f,0\n1:\n"
    )
    own = text.format(restored="", behind="", start=".La", end=".Lv")
    assert "2 entries" in explain(assemble(own))
    other = text.format(restored=".Lr:", behind=".Ls:", start=".Lr", end=".Ls")
    assert "can't be followed" in refused(assemble(other))


# -- what a refusal says -----------------------------------------------------------------------

WORDS = {
    "data": (" addis 9,2,d@toc@ha\n addi 9,9,d@toc@l\n", "the target is .data+0x8, where there is"),
    "a sum": (" addi 9,4,4\n", "the target is computed at 0x0 in a way that isn't known"),
    "bytes": (" addis 9,2,d@toc@ha\n lbz 9,d@toc@l(9)\n", "the target is 1 bytes from .data+0x8"),
    "nothing": (" mr 9,20\n", "the target is what r20 held on entry"),
}


@pytest.mark.parametrize(("target", "words"), WORDS.values(), ids=WORDS.keys())
def test_a_refusal_says_in_words_what_the_target_is(
    assemble: Assemble, target: str, words: str
) -> None:
    data = ' .section .data,"aw"\n .quad 0\nd: .quad 0\n'
    text = refused(assemble(HEAD + target + " mtctr 9\n bctr\n" + END + data))
    assert words in text
    assert text.endswith("or leave hand-written code as it is (--leave-unproved)")
    assert "compile this file with -fno-jump-tables and without computed gotos" in text


def test_a_refusal_of_what_lr_holds_advises_what_keeps_it_out_of_lr(assemble: Assemble) -> None:
    assert "GCC keeps no values in LR" in refused(assemble(KEEP + " blr\n" + END))


# -- which sections name labels --------------------------------------------------------------------

NAMED = (
    HEAD
    + " ld 28,.LC0@toc(2)\n.Lx:\n"
    + JUMP
    + ".Lt: .long .La-.Lt, .Lb-.Lt\n.La: li 28,0\n ld 9,0(4)\n mtctr 9\n bctr\n.Lb: blr\n"
    + ' .size f,.-f\n .section .toc,"aw"\n.LC0: .quad .Lt\n'
)
"""Whoever comes in at .Lx from the second jump has no base."""
NAMING = {
    "data": " .section .data\n .quad .Lx\n",
    "data that only a dynamic linker changes": ' .section .data.rel.ro,"aw"\n .quad .Lx\n',
    "data that nobody changes": " .section .rodata\n .quad .Lx\n",
    "the TOC": " .quad .Lx\n",
    "a function that runs before main": ' .section .init_array,"aw",@init_array\n .quad .Lx\n',
    "a distance in data": " .section .data\n .long .Lx-.\n",
    "a long distance in data that nobody changes": " .section .rodata\n .quad .Lx-.\n",
    "an instruction": " .text\n .type h,@function\nh: addis 3,2,.Lx@toc@ha\n addi 3,3,.Lx@toc@l\n"
    " blr\n .size h,.-h\n",
    "a section of the kernel's": ' .section __own,"a"\n .quad .Lx\n',
    "a fix-up by a function": ' .section __ftr_fixup,"a"\n .quad .Lx-.\n',
    "a table of jump labels that isn't one": ' .section __jump_table,"aw"\n .long .Lx-.\n',
    "a table of exceptions that isn't one": ' .section __ex_table,"a"\n .long .Lx-.\n',
}
NAMING_NONE = {
    "what isn't loaded": ' .section .own,"",@progbits\n .quad .Lx\n',
    "places of warnings": ' .section __bug_table,"aw"\n .long .Lx-.\n',
    "calls of a tracer": ' .section __mcount_loc,"a"\n .quad .Lx\n',
    "patchable entries": ' .section __patchable_function_entries,"aw"\n .quad .Lx\n',
    "sizes of stacks": ' .section .stack_sizes,"a"\n .quad .Lx\n',
    "barriers": ' .section __barrier_nospec_fixup,"a"\n .quad .Lx-.\n',
    "lighter barriers": ' .section __lwsync_fixup,"a"\n .quad .Lx-.\n',
    "frames": ' .section .eh_frame,"a"\n .quad .Lx-.\n',
    "an entry of another table": " .section .rodata\n.Lu: .long .Lx-.Lu\n",
    "the start of the function": " .quad f\n",
    "what is no instruction": " .quad .Lx+2\n",
}


@pytest.mark.parametrize("naming", NAMING.values(), ids=NAMING.keys())
def test_a_label_is_a_way_in_for_who_is_named_by(assemble: Assemble, naming: str) -> None:
    assert "can't be followed" in refused(assemble(NAMED + naming))


@pytest.mark.parametrize("naming", NAMING_NONE.values(), ids=NAMING_NONE.keys())
def test_no_label_is_named_by(assemble: Assemble, naming: str) -> None:
    switch, goto = analyse(assemble(NAMED + naming)).branches
    assert "2 entries" in switch.explain()
    assert goto.kind == "computed goto"


# -- where jumps lead that go through no table -----------------------------------------------------

MANY = " lbz 3,0(4)\n{} b .Lend\n0: mtctr 9\n bctr\n"
MANY_LABELS = "".join(f".L{number}: li 3,{number}\n" for number in range(18)) + ".Lend: blr\n" + END
ADDRESSES = ' .section .rodata\nt: .quad .L1, .L2, .L3\n .section .toc,"aw"\nt.toc: .quad t\n'


def many(load: str) -> str:
    """Eighteen values that meet at one jump."""
    loads = "".join(
        f" cmplwi 3,{number}\n bne 1f\n {load.format(number)}\n b 0f\n1:" for number in range(18)
    )
    labels = "".join(f".LC{n}: .quad .L{n}\n.LE{n}: .quad other{n}\n" for n in range(18))
    return HEAD + MANY.format(loads) + MANY_LABELS + ADDRESSES + labels


MEET = {
    "labels": ("ld 9,.LC{0}@toc(2)", 18),
    "addresses of other objects": ("ld 9,.LE{0}@toc(2)", 0),
    "pointers": ("ld 9,8*{0}(5)", 0),
    "entries of a table": ("addis 9,2,t@toc@ha\n addi 9,9,t@toc@l\n sldi 6,{0}+7,3\n ldx 9,9,6", 3),
}
MEET_UNKNOWN = {
    "numbers": "li 9,16*{0}",
    "numbers from memory": "lwz 9,4*{0}(5)",
    "addresses of data": "addis 9,2,t@toc@ha\n addi 9,9,t@toc@l+{0}",
    "labels that are added to": "ld 9,.LC{0}@toc(2)\n add 9,9,5",
    "half of the entries of a table": "addis 9,2,t@toc@ha\n addi 9,9,t@toc@l\n sldi 6,{0}+7,3\n"
    " lwzx 9,9,6",
}


@pytest.mark.parametrize(("load", "targets"), MEET.values(), ids=MEET.keys())
def test_a_jump_may_go_through_many(assemble: Assemble, load: str, targets: int) -> None:
    found = analyse(assemble(many(load)))
    assert [branch.kind for branch in found.branches] == ["computed goto"]
    assert len(next(iter(found.targets.values()), ())) == targets


@pytest.mark.parametrize("load", MEET_UNKNOWN.values(), ids=MEET_UNKNOWN.keys())
def test_a_jump_through_many_of_which_one_isnt_known_is_refused(
    assemble: Assemble, load: str
) -> None:
    assert "can't be followed" in refused(assemble(many(load)))


THROUGH = {
    "a call's result": (" bl g\n nop\n mr 12,3\n", True),
    "a pointer from the stack": (" ld 12,-16(1)\n", True),
    "four bytes from the stack": (" lwz 12,-16(1)\n", False),
    "four bytes of a spill": (" stw 3,-16(1)\n lwz 12,-16(1)\n", False),
    "a number that was spilled as four bytes": (" li 9,8\n stw 9,-16(1)\n lwz 12,-16(1)\n", True),
    "one of two arguments": (" isel 12,3,4,2\n", True),
    "one of an argument and a sum": (" add 4,4,5\n isel 12,3,4,2\n", False),
    "what a load with update gives": (" ldu 12,8(3)\n", True),
    "what a load with update leaves": (" mr 12,3\n ldu 9,8(12)\n", False),
    "four bytes that a load with update gives": (" lwzu 12,8(3)\n", False),
}


@pytest.mark.parametrize(("code", "is_known"), THROUGH.values(), ids=THROUGH.keys())
def test_a_tail_call_goes_through_eight_bytes_that_came_whole(
    assemble: Assemble, code: str, is_known: bool
) -> None:
    data = assemble(HEAD + code + " mtctr 12\n bctr\n" + END)
    if is_known:
        assert "tail call" in explain(data)
    else:
        assert "can't be followed" in refused(data)
