"""Where a table ends, and what limits its index: one rule after the other, in gas text.

A bound that isn't one would end a table of plain numbers in data too early, and a table in code
that is taken to be longer than it is swallows an instruction: both would be silent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nopfix.rewriter.object import elf
from nopfix.rewriter.object.program import Program
from nopfix.rewriter.proof import data_in_code
from tests.rewriter.tables import reason, refused

if TYPE_CHECKING:
    from collections.abc import Callable

    Assemble = Callable[..., bytes]


HEAD = " .abiversion 2\n .type f,@function\nf: ld 28,.LC0@toc(2)\n.Lhead:\n"
LOAD = " lwax 9,28,9\n"
JUMP = " add 9,9,28\n mtctr 9\n bctr\n"
INDEX = " sldi 9,3,2\n"
CASES = ".La: bl g\n nop\n b .Lhead\n.Lb: blr\n .size f,.-f\n"
ENTRIES = ".Lt: .long .La-.Lt, .Lb-.Lt\n"
TOC = ' .section .toc,"aw"\n.LC0: .quad .Lt\n'

# -- tables in code --------------------------------------------------------------------------------


def in_code(
    index: str = INDEX, entries: str = ENTRIES, cases: str = CASES, load: str = LOAD
) -> str:
    return HEAD + index + load + JUMP + entries + cases + TOC


@pytest.mark.parametrize(
    ("entry", "load", "size"), [(".short", "lhax", 2), (".quad", "ldx", 8), (".byte", "lbzx", 1)]
)
def test_distances_in_code_are_words(assemble: Assemble, entry: str, load: str, size: int) -> None:
    """No compiler writes others, and what follows has to begin on a word."""
    entries = f".Lt: {entry} .La-.Lt, .Lb-.Lt\n .align 2\n"
    text = in_code(entries=entries, load=f" {load} 9,28,9\n")
    assert f"a table of {size}-byte distances" in refused(assemble(text))


def test_distances_in_code_are_from_the_table(assemble: Assemble) -> None:
    text = in_code(" ld 27,.LC1@toc(2)\n" + INDEX, ".Lt: .long .La-.La, .Lb-.La\n")
    text = text.replace("add 9,9,28", "add 9,9,27") + ".LC1: .quad .La\n"
    assert "distances from somewhere else" in refused(assemble(text))


def test_code_is_no_table_without_an_entry(assemble: Assemble) -> None:
    text = in_code(entries=".Lt: li 3,1\n")
    assert "first word is no distance" in refused(assemble(text))


ENDS_OF_CODE = {
    "at the function's end": in_code(
        entries=CASES.replace(" .size", ENTRIES + " .size"),
        cases=" .type h,@function\nh: mflr 0\n blr\n .size h,.-h\n",
    ),
    "at the section's end": in_code(
        entries=CASES.replace(" .size f,.-f\n", ENTRIES), cases=" .size f,.-f\n"
    ),
    "at padding": in_code(cases=" .balign 64\n" + CASES),
    "at zeros": in_code(cases=" .long 0, 0\n" + CASES),
}


@pytest.mark.parametrize("text", ENDS_OF_CODE.values(), ids=ENDS_OF_CODE.keys())
def test_a_table_in_code_ends(assemble: Assemble, text: str) -> None:
    assert reason(assemble(text)) == "2 entries up to a label"


# As a number this instruction is -4, and leads to the bctr in front of the table.
SMALL = "fnmsub 31,31,31,31"
LOOKS_LIKE_AN_ENTRY = {
    "in its first case": in_code(cases=CASES.replace("bl g", f"{SMALL}\n bl g")),
    "where a branch leads": in_code(
        " cmpwi 4,0\n beq .Lx\n" + INDEX, cases=f".Lx: {SMALL}\n bl g\n nop\n{CASES}"
    ),
}


@pytest.mark.parametrize("text", LOOKS_LIKE_AN_ENTRY.values(), ids=LOOKS_LIKE_AN_ENTRY.keys())
def test_an_instruction_is_no_entry_where_something_leads(assemble: Assemble, text: str) -> None:
    assert "has 2 entries, and what follows is no code" in refused(assemble(text))


@pytest.mark.parametrize("number", ["4", "8", "-0x1000", "1"])
def test_a_number_behind_a_table_in_code_that_is_no_entry_is_refused(
    assemble: Assemble, number: str
) -> None:
    """One that leads into the table itself, out of the function, or to half of an instruction."""
    text = in_code(cases=f" .long {number}\n" + CASES)
    assert "what follows is no code" in refused(assemble(text))


def test_an_entry_loaded_without_its_sign_leads_forwards(assemble: Assemble) -> None:
    text = in_code(load=" lwzx 9,28,9\n")
    assert reason(assemble(text)) == "2 entries up to a label"
    back = text.replace(", .Lb-.Lt", ", .Lb-.Lt, .Lhead-.Lt")
    assert "what follows is no code" in refused(assemble(back))
    assert reason(assemble(back.replace("lwzx", "lwax"))) == "3 entries up to a label"


# -- what limits an index --------------------------------------------------------------------------

SPILLED = "cmpwi 4,0\n beq 0f\n std {},-8(1)\n b 1f\n0: std {},-8(1)\n1:"
BY_BYTE = " up to a label (its index allows 256)"
NO_LIMIT = " up to a label"
ALLOWED = ", as its index allows"
CAN_BE = {
    "a mask before a spill": ("clrldi 3,3,63\n std 3,-8(1)\n ld 3,-8(1)\n sldi 9,3,2", ALLOWED),
    "a mask before a copy": ("clrldi 4,3,63\n mr 3,4\n sldi 9,3,2", ALLOWED),
    "a mask with a shift before a copy": ("rldic 4,3,0,63\n mr 3,4\n sldi 9,3,2", ALLOWED),
    "an extension of what is compared": (
        "extsw 5,3\n cmplwi 5,1\n bgt .Lb\n sldi 9,3,2", ALLOWED),
    "an extension by zeros": ("clrldi 5,3,32\n cmplwi 5,1\n bgt .Lb\n sldi 9,3,2", ALLOWED),
    "a mask of what is compared": (
        "clrldi 5,3,60\n cmplwi 5,1\n bgt .Lb\n rldic 9,3,2,58", ALLOWED),
    "a byte of what is compared": (
        "clrldi 5,3,56\n cmplwi 5,1\n bgt .Lb\n rldic 9,3,2,54", ALLOWED),
    "a comparison of a copy of r31": ("mr 5,31\n cmplwi 5,1\n bgt .Lb\n sldi 9,31,2", ALLOWED),
    "a comparison in a block before": (
        "cmplwi 3,1\n cmpwi 1,4,0\n bne 1,.Lb\n bgt .Lb\n sldi 9,3,2", ALLOWED),
    "a comparison before a loop": (
        "cmplwi 3,1\n bgt .Lb\n0: addi 4,4,-1\n cmpwi 4,0\n bne 0b\n sldi 9,3,2", ALLOWED),
    "comparisons on both ways in": (
        "cmpwi 4,0\n beq 0f\n cmplwi 3,1\n bgt .Lb\n b 1f\n0: cmplwi 3,0\n bgt .Lb\n1: sldi 9,3,2",
        ALLOWED),
    "a variable loaded twice": (
        SPILLED.format(3, 6) + " ld 5,-8(1)\n cmplwi 5,1\n bgt .Lb\n ld 3,-8(1)\n sldi 9,3,2",
        ALLOWED),
    "a variable compared on both ways in": (
        SPILLED.format(3, 6) + " cmpwi 4,0\n beq 0f\n ld 5,-8(1)\n cmplwi 5,1\n ble 1f\n b .Lb\n"
        "0: ld 6,-8(1)\n cmplwi 6,0\n bgt .Lb\n1: ld 3,-8(1)\n sldi 9,3,2", ALLOWED),
    "what is compared at the end of each round": (
        "cmplwi 3,1\n bgt .Lb\n0: cmpwi 5,0\n beq 1f\n lwz 3,0(4)\n cmplwi 3,1\n ble 0b\n b .Lb\n"
        "1: sldi 9,3,2", ALLOWED),
    "a branch where it is not greater": ("cmplwi 3,1\n ble 0f\n b .Lb\n0: sldi 9,3,2", ALLOWED),
    "a byte from memory": ("lbz 3,0(4)\n sldi 9,3,2", BY_BYTE),
    "a byte of a register": ("clrldi 3,3,56\n sldi 9,3,2", BY_BYTE),
    "an older bound of both": (
        "clrldi 3,3,56\n cmplwi 3,5\n bgt .Lb\n sldi 9,3,2",
        " up to a label (its index allows 6)"),
}  # fmt: skip
CANNOT_BE = {
    "none": "sldi 9,3,2",
    "an index in bytes": "mr 9,3",
    "a copy": "mr 5,3\n sldi 9,5,2",
    "a shift by nothing": "rldicr 3,3,0,63\n sldi 9,3,2",
    "a word": "clrldi 3,3,32\n sldi 9,3,2",
    "a byte with its sign": "extsb 3,3\n sldi 9,3,2",
    "a halfword with its sign": "lha 3,0(4)\n sldi 9,3,2",
    "of an address that is loaded from": "cmplwi 4,0\n bgt .Lb\n lwz 9,2(4)",
    "of one of two that are added": "cmplwi 4,0\n bgt .Lb\n add 3,4,5\n sldi 9,3,2",
    "before a number is added": "cmplwi 4,0\n bgt .Lb\n addi 3,4,1\n sldi 9,3,2",
    "before a shift": "cmplwi 4,0\n bgt .Lb\n sldi 3,4,1\n sldi 9,3,2",
    "of another scale": "cmplwi 3,0\n bgt .Lb\n sldi 9,3,3",
    "of the low byte": "clrldi 5,3,56\n cmplwi 5,0\n bgt .Lb\n sldi 9,3,2",
    "of the low byte with its sign": "extsb 5,3\n cmplwi 5,0\n bgt .Lb\n sldi 9,3,2",
    "of one of two variables": "lwz 5,0(7)\n " + SPILLED.format(5, 6)
    + " cmplwi 5,0\n bgt .Lb\n ld 3,-8(1)\n sldi 9,3,2",
    "of the other of two variables": "lwz 5,0(7)\n " + SPILLED.format(6, 5)
    + " cmplwi 5,0\n bgt .Lb\n ld 3,-8(1)\n sldi 9,3,2",
    "of one of two that are stored": "clrldi 5,5,63\n " + SPILLED.format(5, 6)
    + " ld 3,-8(1)\n sldi 9,3,2",
    "of the other of two that are stored": "clrldi 5,5,63\n " + SPILLED.format(6, 5)
    + " ld 3,-8(1)\n sldi 9,3,2",
    "of what is stored elsewhere": "clrldi 3,3,63\n std 3,0(1)\n ldx 3,1,5\n sldi 9,3,2",
    "of what is compared and stored elsewhere": "cmplwi 3,0\n std 3,0(1)\n bgt .Lb\n ldx 3,1,5\n"
    " sldi 9,3,2",
    "of what there was in the last round": "clrldi 3,3,63\n0: cmpwi 5,0\n beq 1f\n cmplwi 3,0\n"
    " lwz 3,0(4)\n ble 0b\n b .Lb\n1: sldi 9,3,2",
    "of a copy of what there was in the last round": "clrldi 3,3,63\n0: mr 6,3\n cmpwi 5,0\n"
    " beq 1f\n cmplwi 6,0\n lwz 3,0(4)\n ble 0b\n b .Lb\n1: sldi 9,6,2",
    "of what a variable held in the last round": "clrldi 6,6,63\n std 6,-8(1)\n0: cmpwi 5,0\n"
    " beq 1f\n ld 6,-8(1)\n cmplwi 6,0\n lwz 7,0(4)\n std 7,-8(1)\n ble 0b\n b .Lb\n"
    "1: ld 3,-8(1)\n sldi 9,3,2",
    "of another register": "cmplwi 4,0\n bgt .Lb\n sldi 9,3,2",
    "of what is made anew": "cmplwi 3,0\n bgt .Lb\n cmpwi 5,0\n beq .Lb\n lwz 3,0(4)\n sldi 9,3,2",
    "where it counts as well": "cmplwi 3,0\n bdnzt gt,.Lb\n sldi 9,3,2",
    "by a branch that always is one": "cmplwi 3,0\n bc 20,gt,.Lx\n.Lx: sldi 9,3,2",
    "by no branch": "b 0f\n b 1f\n0: cmplwi 3,0\n lwz 5,0(2)\n1: sldi 9,3,2",
    "below zero": "cmplwi 3,0\n bge .Lb\n sldi 9,3,2",
    "from below": "cmplwi 3,0\n blt .Lb\n sldi 9,3,2",
    "from the other side": "cmplwi 3,0\n ble .Lb\n sldi 9,3,2",
    "to be another": "cmplwi 3,0\n beq .Lb\n sldi 9,3,2",
    "by another condition": "cmplwi 3,0\n add. 5,5,6\n bgt .Lb\n sldi 9,3,2",
    "by a comparison with a register": "cmplwi 3,0\n cmplw 3,4\n bgt .Lb\n sldi 9,3,2",
    "in one of two ways": "lwz 3,0(7)\n cmpwi 4,0\n beq 0f\n cmplwi 3,0\n b 1f\n0: cmplw 3,5\n"
    "1: bgt .Lb\n sldi 9,3,2",
    "in the other of two ways": "lwz 3,0(7)\n cmpwi 4,0\n beq 0f\n cmplw 3,5\n b 1f\n"
    "0: cmplwi 3,0\n1: bgt .Lb\n sldi 9,3,2",
    "in front of one of two ways": "cmpwi 4,0\n beq 0f\n cmplwi 3,0\n bgt .Lb\n0: sldi 9,3,2",
}  # fmt: skip


@pytest.mark.parametrize(("index", "ends"), CAN_BE.values(), ids=CAN_BE.keys())
def test_an_index_is_limited_by(assemble: Assemble, index: str, ends: str) -> None:
    assert reason(assemble(in_code(f" {index}\n"))) == "2 entries" + ends


@pytest.mark.parametrize("index", CANNOT_BE.values(), ids=CANNOT_BE.keys())
def test_an_index_is_not_limited_by(assemble: Assemble, index: str) -> None:
    assert reason(assemble(in_code(f" {index}\n"))) == "2 entries" + NO_LIMIT


@pytest.mark.parametrize(
    ("made", "compared", "allows"),
    [
        ("rldicl 3,6,60,60", "rldicl 5,4,60,56", 16),  # of two fields only the widths are known
        ("clrldi 3,3,60", "andi. 5,3,0xa", 16),  # a mask with holes
        ("clrldi 3,3,56", "clrldi 5,3,60", 256),  # fewer bits
    ],
)
def test_of_two_values_that_are_not_the_same_one_limits_the_other_in_nothing(
    assemble: Assemble, made: str, compared: str, allows: int
) -> None:
    text = in_code(f" {compared}\n cmplwi 5,0\n bgt .Lb\n {made}\n sldi 9,3,2\n")
    assert reason(assemble(text)) == f"2 entries up to a label (its index allows {allows})"


COMPARED = " cmplwi 3,0\n{}\n bgt .Lb\n{} sldi 9,3,2\n"
COMPARED_BEFORE = " cmplwi 3,0\n{}{} bgt .Lb\n sldi 9,3,2\n"
FIXUP = ' .section __ftr_fixup,"a"\n .quad .Lx\n'
LABEL = ' .section .data.rel.ro,"aw"\n .quad .Lx\n'
PAD = ' .section __ex_table,"a"\n .long .Ly-., .Lx-.\n'
CALL = " bl g\n nop\n"
WAYS_IN = {
    "a function's entry": ("", "named:", ""),
    "a label whose address is taken": (CALL, ".Lx:", LABEL),
    "a label that may be entered from anywhere": ("", ".Lx:", FIXUP),
    "what mends a fault": (".Ly: lwz 5,0(5)\n", ".Lx:", PAD),
}


@pytest.mark.parametrize("compared", [COMPARED, COMPARED_BEFORE])
@pytest.mark.parametrize(("before", "label", "after"), WAYS_IN.values(), ids=WAYS_IN.keys())
def test_a_comparison_is_none_for_who_comes_in_behind_it(
    assemble: Assemble, before: str, label: str, after: str, compared: str
) -> None:
    index = before + compared.format("", label)
    if compared is COMPARED_BEFORE:
        index = before + compared.format(" cmpwi 1,4,0\n bne 1,.Lb\n", label)
    text = in_code(index)
    assert reason(assemble(text + after)) == "2 entries" + NO_LIMIT
    assert "its index allows" in reason(assemble(text.replace(label, "")))


def test_a_comparison_is_none_for_who_comes_in_by_two_jumps_that_lead_alike(
    assemble: Assemble,
) -> None:
    """Two switches through one table, with a case in which a third begins."""
    second = JUMP.replace("28", "27").replace(" add", " lwax 9,27,9\n add")
    index = f" ld 27,.LC1@toc(2)\n cmpwi 7,0\n beq .Lv\n sldi 9,4,2\n{second}"
    index += f".Lv: sldi 9,5,2\n{second}.Lu: .long .Lw-.Lu, .Lx-.Lu\n"
    index += f".Lw: cmplwi 3,0\n bgt .Lb\n.Lx: sldi 9,3,2\n{LOAD}{JUMP}"
    text = HEAD + index + ENTRIES + CASES + TOC + ".LC1: .quad .Lu\n"
    found = data_in_code.analyse(Program(elf.read(assemble(text))))
    ends = [branch.explain().rpartition(": ")[2] for branch in found.branches]
    assert ends == ["2 entries up to a label"] * 3


# -- tables in data that are relocated -------------------------------------------------------------

COMPARE = " cmplwi 3,{}\n bgt .Lb\n"
RODATA = " .section .rodata\n .align 2\n"


def in_data(index: str = INDEX, after: str = "") -> str:
    return HEAD + index + LOAD + JUMP + CASES + RODATA + ENTRIES + after + TOC


def test_a_relocated_table_ends_with_its_relocations(assemble: Assemble) -> None:
    assert reason(assemble(in_data())) == "2 entries up to what follows"
    larger = in_data(COMPARE.format(5) + INDEX)
    assert reason(assemble(larger)) == "2 entries up to what follows (its index allows 6)"
    numbers = in_data(after=" .long 0x1234567\n")
    assert reason(assemble(numbers)) == "2 entries up to what follows"


def test_a_relocated_table_ends_where_another_begins(assemble: Assemble) -> None:
    second = in_data(after=".Lu: .long other-.Lu\n") + ".LC1: .quad .Lu\n"
    assert reason(assemble(second)) == "2 entries up to what follows"


def test_a_relocated_entry_that_leads_elsewhere_is_refused(assemble: Assemble) -> None:
    text = in_data(after=" .long other-.Lt\n")
    assert "entry 2 leads to no instruction of the function" in refused(assemble(text))


def test_an_index_of_another_scale_says_nothing_of_a_relocated_table(assemble: Assemble) -> None:
    text = in_data(COMPARE.format(0) + " sldi 9,3,3\n")
    assert reason(assemble(text)) == "2 entries up to what follows"


def test_relocated_distances_are_from_their_table(assemble: Assemble) -> None:
    text = in_data(" ld 27,.LC1@toc(2)\n" + INDEX).replace("add 9,9,28", "add 9,9,27")
    assert "can't be followed" in refused(assemble(text + ".LC1: .quad f\n"))


def test_numbers_relative_to_data_are_refused(assemble: Assemble) -> None:
    text = in_data().replace(".La-.Lt, .Lb-.Lt", "8, 12")
    assert "relative to data" in refused(assemble(text))


# -- label differences, which nothing marks --------------------------------------------------------

BEGIN = " .abiversion 2\n .type f,@function\nf: ld 10,.LC0@toc(2)\n ld 9,.LC1@toc(2)\n"
GOTO = " sldi 3,3,2\n lwax 9,9,3\n add 9,9,10\n mtctr 9\n bctr\n"
LABELS = ".La: li 3,1\n.Lb: blr\n .size f,.-f\n" + RODATA
NUMBERS = ".La-.Lb, .Lb-.Lb, .La-.Lb"
WORDS = ' .section .toc,"aw"\n.LC0: .quad .Lb\n.LC1: .quad t\n'
SYMBOL = " .type t,@object\n .size t,{}\n"


def differences(
    index: str = "", numbers: str = NUMBERS, size: int = 0, after: str = "", goto: str = GOTO
) -> str:
    symbol = SYMBOL.format(size) if size else ""
    return BEGIN + index + goto + LABELS + f"t: .long {numbers}\n{after}{symbol}" + WORDS


def of_bytes(numbers: str, load: str, extend: str = "", index: str = "") -> str:
    goto = GOTO.replace(" sldi 3,3,2\n", "").replace("lwax 9,9,3\n", f"{load} 9,9,3\n{extend}")
    return differences(index, numbers, goto=goto).replace("t: .long", "t: .byte")


MANY = " lbz 3,0(4)\n{} b .Lb\n0:".format(
    "".join(
        f" cmplwi 3,{number}\n bne 1f\n sldi 5,{number % 24 + 5},3\n ldx 9,9,5\n b 0f\n1:"
        for number in range(18)
    )
)
"""Eighteen loads, each with an index of its own."""

ALL_OF = {
    "its index allows": (differences(COMPARE.format(1)), "2 entries, as its index allows"),
    "its index allows, of more": (
        differences(COMPARE.format(1), NUMBERS + ", 99", 16), "2 entries, as its index allows"),
    "its index allows, of a relocated one's neighbour": (
        differences(COMPARE.format(2), after=" .long other-t\n"), "3 entries, as its index allows"),
    "its symbol has": (differences(size=12), "3 entries, all of its symbol"),
    "there are": (differences(), "3 entries, all up to what follows"),
    "its symbol has, fewer than its index allows": (
        differences(COMPARE.format(4), size=12), "3 entries, all of its symbol"),
    "its symbol has, and not the zeros behind it": (
        differences(size=8, numbers=".La-.Lb, .Lb-.Lb\n .zero 4"), "2 entries, all of its symbol"),
    "there are, fewer than a byte allows": (
        differences(" lbz 3,0(3)\n"), "3 entries, all up to what follows (its index allows 256)"),
    "there are, fewer than two bytes allow": (
        differences(" lhz 3,0(3)\n", after="u: .long 99\n", ).replace(
            "\n.LC1:", "\n.LC2: .quad u\n.LC1:"),
        "3 entries, all up to what follows (its index allows 65536)"),
    "there are of eight bytes": (
        differences(goto=GOTO.replace("sldi 3,3,2\n lwax", "sldi 3,3,3\n ldx")).replace(
            "t: .long", "t: .quad"), "3 entries, all up to what follows"),
    "there are of a byte": (
        of_bytes(NUMBERS, "lbzx", " extsb 9,9\n"), "3 entries, all up to what follows"),
    "its index allows, of a byte": (
        of_bytes(NUMBERS + ", 99", "lbzx", " extsb 9,9\n", COMPARE.format(1)),
        "2 entries, as its index allows"),
    "there are of a byte without a sign": (
        of_bytes(".Lb-.Lb, .Lc-.Lb", "lbzx").replace("blr\n", "blr\n .zero 252\n.Lc: blr\n"),
        "2 entries, all up to what follows"),
    "there are, which lead where it lies itself": (
        differences(numbers=", ".join([NUMBERS] * 4)), "12 entries, all up to what follows"),
    "there are, whatever was compared in the last round": (
        differences(
            " clrldi 3,3,63\n0: cmpwi 5,0\n beq 1f\n cmplwi 3,0\n lwz 3,0(4)\n ble 0b\n b .Lb\n"
            "1:\n"),
        "3 entries, all up to what follows"),
    "there are, by a constant": (
        differences(goto=GOTO.replace("sldi 3,3,2\n lwax 9,9,3", "lwa 9,0(9)")),
        "1 entries, the only one that is read"),
    "there is, in front of other numbers": (
        differences("", NUMBERS + ", 4, 8", 20, goto=GOTO.replace(
            "sldi 3,3,2\n lwax 9,9,3", "lwa 9,8(9)")), "1 entries, the only one that is read"),
}  # fmt: skip
NOT_ALL = {
    "of which its symbol has more": (
        differences(numbers=NUMBERS + ", 99", size=16), "nothing says where"),
    "of which there are more": (differences(numbers=NUMBERS + ", 99"), "nothing says where"),
    "of which there are none": (differences(numbers="99, 0"), "nothing says where"),
    "of which its index allows more": (
        differences(COMPARE.format(4)), "its index allows 5 entries but its table has 3"),
    "of which its index and its symbol have more": (
        differences(COMPARE.format(4), NUMBERS + ", 99", 16),
        "its index allows 5 entries but its table has 3"),
    "that may go on behind what something refers to": (
        differences(" lbz 3,0(3)\n", after="u: .rept 253\n .long .La-.Lb\n .endr\n").replace(
            "\n.LC1:", "\n.LC2: .quad u\n.LC1:"),
        "its index allows 256 entries but its table has 3"),
    "in front of another number": (
        differences(" lbz 3,0(3)\n", NUMBERS + ", 99"),
        "its index allows 256 entries but its table has 3"),
    "behind which an address lies": (differences(after=" .quad other\n"), "nothing says where"),
    "by a scale that is larger": (
        differences(goto=GOTO.replace("sldi 3,3,2", "sldi 3,3,3")), "nothing says where"),
    "by an index that was loaded": (
        differences(goto=GOTO.replace("sldi 3,3,2", "lwz 3,2(4)")), "other things in between"),
    "by an index in bytes": (
        differences(goto=GOTO.replace(" sldi 3,3,2\n", "")), "other things in between"),
    "in front of their section": (
        differences().replace(".quad t\n", ".quad t-4\n"), "lies outside of the section"),
    "by one of many indices": (
        differences(goto=MANY + GOTO[GOTO.index(" add"):]).replace("t: .long", "t: .quad"),
        "other things in between"),
    "of bytes without a sign, which lead backwards": (
        of_bytes(".Lb-.Lb, .La-.Lb", "lbzx"), "nothing says where"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "ends"), ALL_OF.values(), ids=ALL_OF.keys())
def test_label_differences_are_all_that(assemble: Assemble, text: str, ends: str) -> None:
    assert reason(assemble(text)) == ends


@pytest.mark.parametrize(("text", "words"), NOT_ALL.values(), ids=NOT_ALL.keys())
def test_label_differences_are_refused(assemble: Assemble, text: str, words: str) -> None:
    assert words in refused(assemble(text))


# The address that the code read of itself is kept on the stack, where others may write.
OWN = (
    " .abiversion 2\n .type f,@function\nf: bl .+4\n.Lp: mflr 10\n std 10,-16(1)\n"
    " addi 3,1,-16\n bl g\n nop\n ld 10,-16(1)\n ld 9,.LC1@toc(2)\n"
)


def test_what_others_may_have_changed_is_believed_only_of_the_codes_own_address(
    assemble: Assemble,
) -> None:
    """No program can name that; a table with a name of the program's is the program's."""
    own = OWN + GOTO + LABELS + "t: .long .La-.Lp, .Lb-.Lp, .La-.Lp\n"
    words = WORDS.replace(".LC0: .quad .Lb\n", "")
    assert reason(assemble(own + words)) == "3 entries, all up to what follows"
    assert "may have changed" in refused(assemble(own + SYMBOL.format(12) + words))
    other = own.replace("bl .+4\n.Lp: mflr 10", "ld 10,.LC0@toc(2)\n.Lp: nop")
    elsewhere = " .section .text.h\nh: blr\n"
    for base, more in ((".Lp", ""), ("h", elsewhere)):
        words = WORDS.replace(".LC0: .quad .Lb", f".LC0: .quad {base}")
        assert "may have changed" in refused(assemble(other + more + words))


# clang -mcmodel=large: the table of a switch by what the code computed in some way.
SWITCH = (
    " .abiversion 2\n .type f,@function\nf: bl .+4\n.Lp: mflr 10\n ld 9,.LC1@toc(2)\n"
    f" ld 5,0(4)\n mulld 3,5,5\n{COMPARE.format(2)}"
) + GOTO
ENTRIES_OF_IT = ".Lt: .long .La-.Lp, .Lb-.Lp, .La-.Lp\n"
ITS_WORDS = ' .section .toc,"aw"\n.LC1: .quad .Lt\n'
OF_A_SWITCH = SWITCH + LABELS + ENTRIES_OF_IT + ITS_WORDS
NOT_OF_A_SWITCH = {
    "with a name": OF_A_SWITCH.replace(".Lt:", "t: .Lt:"),
    "of a variable": OF_A_SWITCH.replace(".Lt:", SYMBOL.format(12) + "t: .Lt:"),
    "in a variable": OF_A_SWITCH.replace(".Lt:", SYMBOL.format(16) + "t: .long 0\n.Lt:"),
    "relative to a label that is named": OF_A_SWITCH.replace(
        "bl .+4\n.Lp: mflr 10", "ld 10,.LC0@toc(2)\n.Lp: nop") + ".LC0: .quad .Lp\n",
    "that nothing limits": OF_A_SWITCH.replace(COMPARE.format(2), ""),
    "by an index that is limited in bytes": OF_A_SWITCH.replace(
        COMPARE.format(2), COMPARE.format(8)).replace(" sldi 3,3,2\n", ""),
    "by an index that was limited before": OF_A_SWITCH.replace("mulld 3,5,5", "mr 3,5")
        .replace(" bgt .Lb\n", " bgt .Lb\n mulld 3,5,5\n"),
}  # fmt: skip


def test_the_table_of_a_switch_has_nothing_in_between(assemble: Assemble) -> None:
    """Neither it nor what its entries are added to has a name; the index is compared."""
    assert reason(assemble(OF_A_SWITCH)) == "3 entries, as its index allows"


@pytest.mark.parametrize("text", NOT_OF_A_SWITCH.values(), ids=NOT_OF_A_SWITCH.keys())
def test_other_numbers_may_lie_in_a_table(assemble: Assemble, text: str) -> None:
    words = refused(assemble(text))
    assert "in between" in words or "in its middle" in words


# An index that was compared is spilled, and reloaded behind something.
KEPT = {
    "nothing": "",
    "a call": " bl g\n nop\n",
    "a store of something else": " std 4,-32(1)\n",
    "a store through a pointer": " std 4,0(5)\n",
    "a prefixed store through a pointer": " pstd 4,0(5)\n",
    "an indexed store through pointers": " stdx 4,5,6\n",
    "another slot's address": " addi 4,3,-32\n bl g\n nop\n",
}
LOST = {
    "a store": " std 4,-16(1)\n",
    "a store of a part": " stw 4,-12(1)\n",
    "a prefixed store": " pstd 4,-16(1)\n",
    "an indexed store": " stdx 4,1,5\n",
    "a store by a frame pointer": " mr 31,1\n std 4,-16(31)\n",
    "a frame": " addi 1,1,-64\n",
    "a store that makes a frame": " stdu 1,-64(1)\n",
    "a prefixed instruction's frame": " paddi 1,1,-64\n",
    "a call, where its address is known": " addi 4,1,-16\n bl g\n nop\n",
    "a store, where its address is known": " addi 4,1,-16\n std 5,0(4)\n",
    "a prefixed store, where its address is known": " addi 4,1,-16\n pstd 5,0(4)\n",
    "an indexed store, where its address is known": " addi 4,1,-16\n stdx 5,4,6\n",
    "a store, where a prefixed instruction made its address": " paddi 4,1,-16\n std 5,0(4)\n",
    "a store, where a register has another one's address": " mr 4,1\n std 5,-16(4)\n",
    "a store by an address from an index": " stdx 5,4,1\n",
}


@pytest.mark.parametrize("code", KEPT.values(), ids=KEPT.keys())
def test_a_spilled_index_stays_as_it_was_compared_behind(assemble: Assemble, code: str) -> None:
    text = differences(" std 3,-16(1)\n" + COMPARE.format(1) + code + " ld 3,-16(1)\n")
    assert reason(assemble(text, "-mpower10")) == "2 entries, as its index allows"


@pytest.mark.parametrize("code", LOST.values(), ids=LOST.keys())
def test_a_spilled_index_may_be_another_behind(assemble: Assemble, code: str) -> None:
    text = differences(" std 3,-16(1)\n" + COMPARE.format(1) + code + " ld 3,-16(1)\n")
    assert reason(assemble(text, "-mpower10")) == "3 entries, all up to what follows"


# An entry is kept in four bytes of the stack, and reloaded from there.
RELOADED = {
    "a word, with its sign": ("lwzx", "stw", "lwa"),
    "a word that has its sign": ("lwax", "stw", "lwa"),
    "a half-word that has its sign": ("lhax", "stw", "lwa"),
    "a half-word without one": ("lhzx", "stw", "lwz"),
}
NOT_RELOADED = {
    "a half-word that had a sign": ("lhax", "stw", "lwz"),
    "a word's upper half": ("lwax", "std", "lwa"),
    "half of a pointer": ("ldx", "stw", "lwa"),
}


def reloaded(load: str, store: str, reload: str) -> str:
    place = -12 if (store, reload) == ("std", "lwa") else -16
    kept = f"{load} 9,9,3\n {store} 9,-16(1)\n bl g\n nop\n {reload} 9,{place}(1)\n"
    shift, kind = {"h": (1, "short"), "w": (2, "long"), "d": (3, "quad")}[load[1]]
    goto = GOTO.replace("sldi 3,3,2", f"sldi 3,3,{shift}").replace("lwax 9,9,3\n", kept)
    text = differences("", ".La-.La, .Lb-.La", goto=goto).replace("t: .long", f"t: .{kind}")
    return text.replace(".LC0: .quad .Lb", ".LC0: .quad .La")


@pytest.mark.parametrize("kept", RELOADED.values(), ids=RELOADED.keys())
def test_an_entry_may_be_kept_in_a_word_of_the_stack(
    assemble: Assemble, kept: tuple[str, str, str]
) -> None:
    assert reason(assemble(reloaded(*kept))) == "2 entries, all up to what follows"


@pytest.mark.parametrize("kept", NOT_RELOADED.values(), ids=NOT_RELOADED.keys())
def test_what_is_reloaded_otherwise_is_no_entry(
    assemble: Assemble, kept: tuple[str, str, str]
) -> None:
    assert "plus r9" in refused(assemble(reloaded(*kept)))


# -- tables of addresses ---------------------------------------------------------------------------

THROUGH = HEAD + " sldi 9,3,3\n ldx 9,28,9\n mtctr 9\n bctr\n"
ADDRESSES = ".Lt: .quad .La, other, .Lb\n"


def test_a_table_of_addresses_ends_with_its_relocations(assemble: Assemble) -> None:
    """In code wherever anything refers to, and with entries that lead elsewhere."""
    code = THROUGH + " .align 3\n" + ADDRESSES + CASES + TOC
    assert reason(assemble(code)) == "3 relocated addresses"
    named = code.replace(", other", "\n.Lm: .quad other") + ".LC1: .quad .Lm\n"
    assert reason(assemble(named)) == "3 relocated addresses"
    data = THROUGH + CASES + ' .section .data.rel.ro,"aw"\n' + ADDRESSES + " .quad 5\n"
    assert reason(assemble(data + TOC)) == "3 relocated addresses"
    named = data.replace(", other", "\n.Lm: .quad other") + TOC + ".LC1: .quad .Lm\n"
    assert reason(assemble(named)) == "1 relocated addresses"


@pytest.mark.parametrize("others", [1, 2])
def test_a_table_of_addresses_may_begin_behind_where_its_index_counts_from(
    assemble: Assemble, others: int
) -> None:
    """clang makes t[i - 1] of the address in front of t, where the last of u's is."""
    data = THROUGH + CASES + ' .section .data.rel.ro,"aw"\nu:' + " .quad .Lb\n" * others
    data += f" .type u,@object\n .size u,{8 * others}\n"
    data += "t: .quad .La, .Lb, .La\n .type t,@object\n .size t,24\n"
    data += ' .section .toc,"aw"\n.LC0: .quad {}\n'
    assert reason(assemble(data.format("t-8"))) == "4 relocated addresses"
    assert reason(assemble(data.format("t"))) == "3 relocated addresses"


def test_a_table_of_addresses_that_the_program_may_change_is_pointers(assemble: Assemble) -> None:
    for section, words in ((".data.rel.ro", "3 relocated addresses"), (".data", "a pointer from")):
        data = THROUGH + CASES + f' .section {section},"aw"\n' + ADDRESSES + TOC
        assert words in reason(assemble(data))


def test_a_table_of_addresses_gives_the_targets_that_are_in_the_object(assemble: Assemble) -> None:
    code = THROUGH + " .align 3\n" + ADDRESSES + CASES + TOC
    found = data_in_code.analyse(Program(elf.read(assemble(code))))
    assert [len(own) for own in found.targets.values()] == [2]


def test_a_pointer_in_data_is_no_table_and_in_code_it_is_refused(assemble: Assemble) -> None:
    data = THROUGH + CASES + " .data\n.Lt: .quad 0\n" + TOC
    assert reason(assemble(data)) == "a pointer from .data+0x0"
    code = THROUGH + " .align 3\n.Lt: .quad 0x7c0802a67c0802a6\n" + CASES + TOC
    assert "eight bytes of code that aren't relocated" in refused(assemble(code))
