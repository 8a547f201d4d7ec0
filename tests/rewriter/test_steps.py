"""In what steps an index goes, and who else reads the table: in gas text, one rule after the other.

A step that is too small takes other numbers for label differences, one that is too large leaves
some as they are; both would be silent.
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

TEXT = """
 .abiversion 2
 .type f,@function
f: ld 10,.LC0@toc(2)
 ld 9,.LC1@toc(2)
{code}
{load}
 add 8,8,10
 mtctr 8
 bctr
.La: li 3,1
.Lb: blr
 .size f,.-f
 .section {section}
 .align 3
{symbols}
t: .rept 24
 .long .La-.Lb
 .endr
u: .long .La-.Lb, 0
 .size t,{size}
 .type t,@object
 .section .toc,"aw"
.LC0: .quad .Lb
.LC1: .quad {table}
{words}
"""
SIZE = 96
"""Each word of the table leads to a label: how many are its entries tells what the steps are."""


def text(
    code: str,
    load: str = "lwax 8,9,3",
    size: int = SIZE,
    table: str = "t",
    section: str = ".rodata",
    symbols: str = "",
    words: str = "",
) -> str:
    return TEXT.format(**locals())


UNKNOWN = " .long 0x7c000002\n ld 10,.LC0@toc(2)\n ld 9,.LC1@toc(2)"
EITHER = "cmpwi 5,0\n beq 0f\n {}\n b 1f\n0: {}\n1: sldi 3,3,2"
ROUND = "li 3,0\n0: addi 3,3,{}\n cmpwi 3,40\n blt 0b\n sldi 3,3,2"
HANDED_OUT = "addi 5,1,-8\n std 5,0(6)\n bl g\n nop\n"
STEPS = {
    "a product": ("sldi 3,3,2", 4),
    "a larger one": ("sldi 3,3,3", 8),
    "one with a number": ("mulli 3,3,12", 12),
    "one with a negative number": ("mulli 3,3,-12", 12),
    "a product of a product": ("mulli 3,3,3\n sldi 3,3,2", 12),
    "a copy of one": ("mulli 4,3,12\n mr 3,4", 12),
    "one extended from 32 bits": ("mulli 3,3,3\n extsw 3,3\n sldi 3,3,2", 12),
    "one shifted as a word": ("mulli 3,3,3\n slwi 3,3,2", 12),
    "a sum with a number": ("addi 3,3,1\n sldi 3,3,3", 8),
    "a sum with a number that is a multiple": ("sldi 3,3,3\n addi 3,3,16", 8),
    "a sum of two": ("sldi 3,3,3\n sldi 4,4,2\n add 3,3,4", 4),
    "a sum of two that go alike": ("sldi 3,3,3\n sldi 4,4,3\n add 3,3,4", 8),
    "a difference": ("subf 3,4,3\n sldi 3,3,2", 4),
    "three times what was spilled":
        ("std 3,-8(1)\n ld 5,-8(1)\n sldi 3,3,1\n add 3,3,5\n sldi 3,3,2", 12),
    "three times, in parts": ("sldi 5,3,1\n cmpwi 4,0\n beq 0f\n0: add 5,5,3\n sldi 3,5,2", 12),
    "a product before a loop": ("mulli 3,3,12\n0: addi 5,5,1\n cmpwi 5,9\n blt 0b", 12),
    "a sum of two, one of them spilled":
        ("std 4,-8(1)\n ld 4,-8(1)\n sldi 3,3,3\n sldi 4,4,2\n add 3,3,4", 4),
    "a sum of two, one of them of several ways":
        (EITHER.format("mr 3,4", "mr 3,6") + "\n sldi 7,7,3\n add 3,3,7", 4),
    "a sum of two results": ("bl g\n nop\n sldi 3,3,3\n sldi 4,4,2\n add 3,3,4", 4),
    "what was stored as two bytes": ("sth 3,-8(1)\n lhz 3,-8(1)\n sldi 3,3,2", 4),
    "what was stored beside others":
        ("mulli 3,3,3\n stw 3,-8(1)\n stw 4,-4(1)\n stw 5,-12(1)\n lwz 3,-8(1)\n sldi 3,3,2", 12),
    "what was stored in parts": ("std 3,-8(1)\n stb 4,-5(1)\n ld 3,-8(1)\n sldi 3,3,2", 4),
    "what was stored in parts only": ("mulli 3,3,3\n stw 3,-8(1)\n ld 3,-8(1)\n sldi 3,3,2", 4),
    "what was stored with an index": ("mulli 3,3,3\n stdx 3,1,4\n ld 3,-8(1)\n sldi 3,3,2", 4),
    "what was stored as eight bytes": ("std 3,-8(1)\n lwz 3,-8(1)\n sldi 3,3,2", 4),
    "what moved with the stack": ("mulli 3,3,3\n stdu 3,-8(1)\n ld 3,-8(1)\n sldi 3,3,2", 4),
    "what nobody is seen to store": ("stdu 1,-32(1)\n lwz 3,8(1)\n sldi 3,3,2", 4),
    "what lies in an array on the stack": ("add 4,1,4\n lwzx 3,1,4\n sldi 3,3,2", 4),
    "a number on the other of two ways": (EITHER.format("mr 3,6", "li 3,3"), 4),
    "three times, added up": ("sldi 5,3,1\n add 5,5,3\n sldi 3,5,2", 12),
    "three times, added up as words": ("slwi 5,3,1\n add 5,3,5\n sldi 3,5,2", 12),
    "twice, added up": ("add 3,3,3\n sldi 3,3,2", 8),
    "three times, as a difference": ("sldi 5,3,2\n subf 5,3,5\n sldi 3,5,2", 12),
    "three times what was loaded": ("lwz 3,0(4)\n sldi 5,3,1\n add 5,5,3\n sldi 3,5,2", 12),
    "a difference of two that go otherwise": ("sldi 3,3,3\n mulli 4,4,12\n subf 3,4,3", 4),
    "some bits of a word": ("rlwinm 3,3,0,24,28", 8),
    "what was loaded": ("lwz 3,0(4)\n sldi 3,3,3", 8),
    "what was loaded with update": ("lwzu 3,4(4)\n sldi 3,3,3", 8),
    "what is loaded from a variable": ("lwz 3,u@toc@l(2)\n sldi 3,3,3", 8),
    "a call's result": ("bl g\n nop\n sldi 3,3,3", 8),
    "what may be any number": ("xor 3,3,4\n sldi 3,3,2", 4),
    "the low bits of a hash": ("mulli 3,3,257\n clrldi 3,3,56\n sldi 3,3,2", 4),
    "bits of a difference": ("sldi 4,3,6\n subf 3,3,4\n clrldi 3,3,59\n sldi 3,3,2", 4),
    "a field from the middle": ("srwi 3,3,5\n sldi 3,3,2", 4),
    "one of two registers": ("cmpwi 5,0\n isel 3,3,4,2\n sldi 3,3,2", 4),
    "one of two ways": (EITHER.format("mr 3,4", "mr 3,6"), 4),
    "a number on one of two ways": (EITHER.format("li 3,3", "mr 3,6"), 4),
    "what comes round": (ROUND.format(1), 4),
    "what comes round backwards": (ROUND.format(-1), 4),
    "what was spilled": ("mulli 3,3,3\n std 3,-8(1)\n ld 3,-8(1)\n sldi 3,3,2", 12),
    "what others may have changed": (
        f"std 3,-8(1)\n {HANDED_OUT} ld 3,-8(1)\n sldi 3,3,2", 4),
    "a row and an index in it": ("sldi 3,3,4\n clrldi 4,4,62\n sldi 4,4,2\n add 3,3,4", 4),
    "a row and a byte": ("mulli 3,3,1024\n lbz 4,0(5)\n extsb 4,4\n sldi 4,4,2\n add 3,3,4", 4),
    "a row of every second and an index": (
        "sldi 3,3,4\n clrldi 4,4,63\n sldi 4,4,3\n add 3,3,4", 8),
}  # fmt: skip
NO_STEPS = {
    "in bytes": "mr 3,4",
    "in half words": "sldi 3,3,1",
    "beside a number that is no multiple": "sldi 3,3,3\n addi 3,3,4",
    "by three, of what was spilled and handed out":
        f"mr 7,3\n std 3,-8(1)\n {HANDED_OUT} ld 5,-8(1)\n sldi 7,7,1\n add 3,7,5\n sldi 3,3,2",
    "of a product that was stored as two bytes":
        "mulli 3,3,3\n sth 3,-8(1)\n lhz 3,-8(1)\n sldi 3,3,2",
    "of a product that was stored as a byte":
        "mulli 3,3,3\n stb 3,-8(1)\n lbz 3,-8(1)\n sldi 3,3,2",
    "of a product that was stored as eight bytes":
        "mulli 3,3,3\n std 3,-8(1)\n lwz 3,-8(1)\n sldi 3,3,2",
    "of what isn't known, added": "sldi 4,4,3\n mulld 3,3,5\n add 3,4,3",
    "of what no manual has": f"{UNKNOWN}\n sldi 3,3,2",
    "of the low bits of odd numbers": "sldi 3,3,1\n addi 3,3,1\n clrldi 3,3,56\n sldi 3,3,2",
    "of what comes round, added to itself":
        "li 3,0\n0: xor 5,3,5\n addi 3,3,1\n cmpwi 5,40\n blt 0b\n sldi 5,5,3\n sldi 6,3,2\n"
        " and 7,5,3\n sldi 7,7,2\n add 3,7,6",
    "by a number of what came round":
        "li 3,0\n0: sldi 5,3,1\n addi 3,3,1\n add 5,5,3\n cmpwi 5,40\n blt 0b\n sldi 3,5,2",
    "by three, of two fields": "rlwinm 5,3,1,23,30\n clrldi 3,3,56\n add 5,5,3\n sldi 3,5,2",
    "by three, of a field of one": "clrldi 3,3,56\n rlwinm 5,3,1,23,30\n add 5,5,3\n sldi 3,5,2",
    "by three, of what was read again":
        "sldi 5,3,1\n lwz 3,0(4)\n add 5,5,3\n sldi 3,5,2\n b 0f\n0: cmpwi 3,9\n beq f",
    "of bits with others between": "andi. 3,3,0x14",
    "of bits that are cleared below": "rldicr 3,3,0,60",
    "of the low bits of a product": "mulli 3,3,3\n clrldi 3,3,56\n sldi 3,3,2",
    "of the low bits of a product, shifted": "mulli 3,3,3\n rlwinm 3,3,2,22,29",
    "of the low bits of an even product": "mulli 3,3,258\n clrldi 3,3,56\n sldi 3,3,2",
    "of the low bits of a product that may be a row":
        "mulli 3,3,31\n clrldi 3,3,59\n sldi 3,3,2",
    "of the low bits of a bit's product":
        "clrldi 3,3,63\n mulli 3,3,257\n clrldi 3,3,56\n sldi 3,3,2",
    "by what isn't known": "mulld 3,3,4\n sldi 3,3,2",
    "of a part of a product": "mulli 3,3,6\n srwi 3,3,1\n sldi 3,3,2",
    "of a part of a product, extended": "slwi 3,3,2\n extsw 3,3\n sradi 3,3,1\n sldi 3,3,2",
    "of a part of a product, spilled":
        "mulli 3,3,6\n stw 3,-8(1)\n lwz 3,-8(1)\n srwi 3,3,1\n sldi 3,3,2",
    "of bits of two products":
        "sldi 3,3,1\n sldi 4,4,1\n xor 3,3,4\n sldi 3,3,2",
    "of one of two, which goes otherwise": "cmpwi 5,0\n mulli 4,4,3\n isel 3,3,4,2\n sldi 3,3,2",
    "of zero or what goes otherwise": "cmpwi 5,0\n mulli 4,4,3\n isel 3,0,4,2\n sldi 3,3,2",
    "of ways that go otherwise": EITHER.format("mulli 3,4,3", "mulli 3,6,3"),
    "of ways of which one goes otherwise": EITHER.format("mulli 3,4,3", "mr 3,6"),
    "of numbers": EITHER.format("li 3,0", "li 3,3"),
    "of what isn't known on one way": EITHER.format("mulld 3,4,6", "mr 3,6"),
    "of what comes round by more": ROUND.format(3),
    "of a product that others may have changed":
        f"mulli 3,3,3\n std 3,-8(1)\n {HANDED_OUT} ld 3,-8(1)\n sldi 3,3,2",
    "of an address that was counted up": "lwzu 5,8(3)\n sldi 3,3,2",
    "of an address": "addis 3,3,u@toc@ha\n sldi 3,3,2",
    "of what is made with a prefix": "paddi 3,3,1\n sldi 3,3,2",
    "that leaves out the last of each row":
        "mulli 3,3,12\n clrldi 4,4,63\n sldi 4,4,2\n add 3,3,4",
    "that leaves out the last of each row of two kinds":
        "mulli 3,3,24\n clrldi 4,4,63\n sldi 4,4,2\n add 3,3,4\n clrldi 5,5,63\n sldi 5,5,4\n"
        " add 3,3,5",
    "that leaves out others than a few bits tell":
        "mulli 3,3,12\n clrldi 4,4,63\n sldi 4,4,3\n add 3,3,4",
}  # fmt: skip


@pytest.mark.parametrize(("code", "step"), STEPS.values(), ids=STEPS.keys())
def test_an_index_goes_in_steps_of(assemble: Assemble, code: str, step: int) -> None:
    assert reason(assemble(text(code))) == f"{SIZE // step} entries, all of its symbol"


@pytest.mark.parametrize("code", NO_STEPS.values(), ids=NO_STEPS.keys())
def test_nothing_is_said_of_an_index(assemble: Assemble, code: str) -> None:
    assert "with other things in between" in refused(assemble(text(code), "-mpower10"))


ONE = {
    "no bits": ("andi. 3,3,0", "as its index allows"),
    "a number": ("li 3,7\n sldi 3,3,2", "the only one that is read"),
    "a number times a number": ("li 3,7\n mulli 3,3,4", "the only one that is read"),
    "a number that comes round and stays":
        ("li 3,0\n0: mr 3,3\n cmpwi 5,40\n blt 0b\n sldi 3,3,2", "the only one that is read"),
}  # fmt: skip


@pytest.mark.parametrize(("code", "why"), ONE.values(), ids=ONE.keys())
def test_one_entry_is_read_by_an_index_of(assemble: Assemble, code: str, why: str) -> None:
    assert reason(assemble(text(code))) == f"1 entries, {why}"


def test_one_of_several_numbers_may_never_come_to_the_jump(assemble: Assemble) -> None:
    """A variable begins with -1, say: what lies in front of the table stays as it is."""
    assert "in between" in refused(assemble(text(EITHER.format("li 3,-1", "li 3,2"))))


def test_steps_of_a_byte_are_seen_too(assemble: Assemble) -> None:
    """A table of bytes by an index that is a product has other bytes in between."""
    code = text("sldi 3,3,1", "lbzx 8,9,3", size=8).replace(" .long", " .byte")
    assert reason(assemble(code.replace(".La-.Lb", ".Lb-.Lb"))) == "4 entries, all of its symbol"


# -- an address that several registers are added to ------------------------------------------------

ROWS = {
    "by the load": ("sldi 3,3,4\n add 9,9,3\n sldi 3,4,2", "lwax 8,9,3", 4),
    "by an instruction": ("sldi 3,3,4\n add 9,9,3\n sldi 3,4,2\n add 9,9,3", "lwa 8,0(9)", 4),
    "three of them": ("sldi 3,3,6\n add 9,9,3\n sldi 4,4,4\n add 9,4,9\n sldi 3,5,3",
        "lwax 8,3,9", 8),
    "by the same number twice": ("sldi 4,3,3\n add 9,9,4\n sldi 3,3,2", "lwax 8,9,3", 12),
    "on one of two ways": (
        "cmpwi 5,0\n beq 0f\n sldi 4,4,3\n add 9,9,4\n0: sldi 3,3,2", "lwax 8,9,3", 4),
    "of three members": ("mulli 3,3,24\n add 9,9,3\n mulli 3,4,12", "lwax 8,9,3", 12),
    "of the second member": ("sldi 3,3,4\n add 9,9,3\n sldi 3,4,3\n add 9,9,3", "lwa 8,0(9)", 8),
    "and a number": ("sldi 3,3,4\n add 9,9,3\n addi 9,9,-4\n sldi 3,4,2\n add 9,9,3",
        "lwa 8,4(9)", 4),
}  # fmt: skip
NO_ROWS = {
    "of which the last is left out": (
        "mulli 3,3,12\n add 9,9,3\n clrldi 3,4,63\n sldi 3,3,2", "in between"),
    "by what isn't known": ("mulld 3,3,4\n add 9,9,3\n sldi 3,4,2", "in between"),
}  # fmt: skip


@pytest.mark.parametrize(("code", "load", "step"), ROWS.values(), ids=ROWS.keys())
def test_rows_of_label_differences_go_in_steps(
    assemble: Assemble, code: str, load: str, step: int
) -> None:
    assert reason(assemble(text(code, load))) == f"{SIZE // step} entries, all of its symbol"


@pytest.mark.parametrize(("code", "words"), NO_ROWS.values(), ids=NO_ROWS.keys())
def test_rows_of_label_differences_are_refused(assemble: Assemble, code: str, words: str) -> None:
    assert words in refused(assemble(text(code)))


# -- what several jumps say of one table -----------------------------------------------------------

ANOTHER = " lwax 8,9,{1}\n add 8,8,10\n mtctr 8\n bctr\n.Lc: {0}"
ANY = "sldi 3,3,2"
SOME = "mulld 3,3,4\n sldi 3,3,2"


def jumps(*indices: str, start: str = "", size: int = SIZE, words: str = "") -> str:
    """A jump for each of ``indices``, through one table; ``start`` makes its row in r9."""
    code = f"{start}\n cmpwi 5,0\n beq .Lc\n {indices[0]}\n" + "".join(
        ANOTHER.format(index, 3) for index in indices[1:]
    )
    return text(code, size=size, words=words)


def test_an_index_that_isn_t_known_reads_entries_where_another_reads_all(
    assemble: Assemble,
) -> None:
    assert reason(assemble(jumps(SOME, ANY))) == "24 entries, all of its symbol"
    assert "in between" in refused(assemble(jumps(SOME, SOME)))


def test_an_index_that_isn_t_known_is_refused_where_another_reads_some(assemble: Assemble) -> None:
    assert "in between" in refused(assemble(jumps(SOME, f"clrldi 3,3,62\n {ANY}")))


def test_an_index_may_reach_fewer_entries_than_another(assemble: Assemble) -> None:
    first, second = f"clrldi 3,3,63\n {ANY}", f"clrldi 3,3,61\n {ANY}"
    found = data_in_code.analyse(Program(elf.read(assemble(jumps(first, second)))))
    ((_, numbers),) = found.differences.items()
    assert [number.place for number in numbers] == list(range(0, 32, 4))


@pytest.mark.parametrize(("columns", "is_known"), [(62, True), (63, False)])
def test_a_row_is_known_where_others_fill_what_lies_in_front(
    assemble: Assemble, columns: int, is_known: bool
) -> None:
    first = f"clrldi 3,3,{columns}\n {ANY}"
    second = f"clrldi 3,3,62\n {ANY}\n addi 9,9,16"
    code = assemble(jumps(first, second, size=32))
    if is_known:
        assert "4 entries, as its index allows" in reason(code)
    else:
        assert "entered in its middle" in refused(code)


# -- what lies in between --------------------------------------------------------------------------

BY_8 = "sldi 3,3,3"
MEMBERS = {
    "the first member": (text(BY_8), 12),
    "the second member": (text(BY_8, table="t+4"), 12),
    "a member of two bytes": (text(BY_8, "lhax 8,9,3", table="t+6").replace(
        ".long .La-.Lb", ".short 0, .Lb-.Lb"), 12),
    "a member behind what a load with update read": (
        text(f"{BY_8}\n lwzux 5,9,3", "lwa 8,4(9)"), 12),
    "a member behind what a store with update filled": (
        text(f"{BY_8}\n stwux 5,9,3", "lwa 8,4(9)"), 12),
    "one that other members are named beside": (text(BY_8, words=" .quad t+4, t+20"), 12),
    "one of what only a dynamic linker changes": (
        text(BY_8, section='.data.rel.ro,"aw"'), 12),
    "one behind another symbol": (text(
        BY_8, table="t+4", symbols=" .type v,@object\n .size v,8\nv: .quad 0\n"), 12),
}  # fmt: skip
NO_MEMBERS = {
    "in the second struct": (text(BY_8, table="t+8"), "entered in its middle"),
    "over the end of a struct": (text(BY_8, table="t+6"), "entered in its middle"),
    "without others in between": (text("sldi 3,3,2", table="t+4"), "entered in its middle"),
    "of half a struct too much": (text(BY_8, size=92), "nothing says where"),
    "of no symbol": (text(BY_8, table="u+8", words=" .section .rodata\n .long 0\n"), "nothing"),
    "inside of two symbols": (text(
        BY_8, table="t+4", symbols=" .type v,@object\n .size v,100\nv:\n"), "in its middle"),
    "that the program may change": (text(BY_8, section=".data"), "that the program may change"),
    "of which one leads nowhere": (
        text(BY_8).replace(" .rept 24", " .long 1\n .rept 23"), "nothing says where"),
}  # fmt: skip


@pytest.mark.parametrize(("source", "count"), MEMBERS.values(), ids=MEMBERS.keys())
def test_label_differences_may_be(assemble: Assemble, source: str, count: int) -> None:
    assert reason(assemble(source)) == f"{count} entries, all of its symbol"


@pytest.mark.parametrize(("source", "words"), NO_MEMBERS.values(), ids=NO_MEMBERS.keys())
def test_label_differences_in_between_are_refused(
    assemble: Assemble, source: str, words: str
) -> None:
    assert words in refused(assemble(source))


@pytest.mark.parametrize("product", ["sldi 3,3,3", "mulli 3,3,8", "rlwinm 3,3,3,23,28"])
def test_an_index_that_goes_in_larger_steps_is_limited_as_any(
    assemble: Assemble, product: str
) -> None:
    compared = f"cmplwi 3,4\n bgt .Lb\n {product}"
    assert reason(assemble(text(compared))) == "5 entries, as its index allows"


@pytest.mark.parametrize("product", ["mulli 3,3,12", "sldi 3,3,2"])
def test_a_limit_of_what_is_multiplied_once_more_limits_no_index(
    assemble: Assemble, product: str
) -> None:
    compared = f"cmplwi 3,4\n bgt .Lb\n mulli 3,3,2\n {product}"
    assert "all of its symbol" in reason(assemble(text(compared)))


def test_numbers_in_between_stay(assemble: Assemble) -> None:
    found = data_in_code.analyse(Program(elf.read(assemble(text("mulli 3,3,12", table="t+4")))))
    ((_, numbers),) = found.differences.items()
    assert [number.place for number in numbers] == list(range(4, SIZE, 12))


# -- who else reads them ---------------------------------------------------------------------------

READS_NONE = {
    "another member": f"{BY_8}\n add 7,9,3\n lwz 5,4(7)",
    "another member of its own index": f"sldi 6,4,4\n add 7,9,6\n lwz 5,4(7)\n {BY_8}",
    "bytes of another member": f"{BY_8}\n add 7,9,3\n lbz 5,7(7)",
    "another member of the first": f"lwz 5,4(9)\n {BY_8}",
    "what lies in front": f"lwz 5,-4(9)\n {BY_8}",
    "what lies behind": f"lwz 5,{SIZE}(9)\n {BY_8}",
    "a table behind": f"addi 7,9,{SIZE}\n lwzx 5,7,4\n {BY_8}",
    "the same entry twice": f"{BY_8}\n add 9,9,3\n lwz 5,0(9)",
    "what lies in front, as far as a step": f"lwz 5,-8(9)\n {BY_8}",
    "what lies behind, with a prefix": f"plwz 5,0x20008(9)\n {BY_8}",
    "what lies at an address": f"ld 0,.LC1@toc(2)\n plwz 5,16(0)\n {BY_8}",
    "what no manual has": f"{UNKNOWN}\n lbz 3,w@toc@l(2)\n {BY_8}",
    "another section": f"lwz 5,w@toc@l(2)\n {BY_8}",
}
READS_SOME = {
    "an entry": f"sldi 6,4,3\n lwzx 5,9,6\n {BY_8}",
    "entries and others": f"sldi 6,4,2\n add 7,9,6\n lwz 5,4(7)\n {BY_8}",
    "by what isn't known": f"mulld 6,4,5\n lwzx 5,9,6\n {BY_8}",
    "half an entry": f"sldi 6,4,3\n add 7,9,6\n lhz 5,2(7)\n {BY_8}",
    "a member and what follows": f"sldi 6,4,3\n add 7,9,6\n ld 5,4(7)\n {BY_8}",
    "an entry by its address": f"lwz 5,16(9)\n {BY_8}",
    "an entry by its name": f"lwz 5,t+16@toc@l(2)\n {BY_8}",
    "the first entry, with what lies in front": f"ld 5,-4(9)\n {BY_8}",
    "an entry with update": f"sldi 6,4,3\n mr 7,9\n lwzux 5,7,6\n {BY_8}",
    "a vector of them": f"lxvd2x 0,0,9\n {BY_8}",
    "an entry from in front of the table": f"addi 7,9,-8\n sldi 6,4,3\n lwzx 5,7,6\n {BY_8}",
    "an entry with a prefix": f"plwz 5,16(9)\n {BY_8}",
    "an entry by what was loaded": f"lwz 6,u@toc@l(2)\n lwzx 5,9,6\n {BY_8}",
    "an entry by the sum of one": f"sldi 6,4,3\n lwax 6,9,6\n lwzx 5,9,6\n {BY_8}",
}
LOAD = "lwax 8,9,3"


@pytest.mark.parametrize("code", READS_NONE.values(), ids=READS_NONE.keys())
def test_who_reads_no_label_difference_does_no_harm(assemble: Assemble, code: str) -> None:
    load = "lwa 8,0(9)" if "add 9,9,3" in code else LOAD
    source = text(code, load, words=".section .data\nw: .long 0")
    assert "12 entries" in reason(assemble(source, "-mpower10"))


@pytest.mark.parametrize("code", READS_SOME.values(), ids=READS_SOME.keys())
def test_a_label_difference_that_is_read_for_something_else_is_refused(
    assemble: Assemble, code: str
) -> None:
    assert "is read for something else" in refused(assemble(text(code), "-mpower10"))


# -- several jumps ---------------------------------------------------------------------------------

SECOND = "cmpwi 5,0\n beq 2f\n {}\n add 8,8,{}\n mtctr 8\n bctr\n2: sldi 3,3,3"


@pytest.mark.parametrize(
    "first",
    [
        "lwa 8,0(9)",
        "lwa 8,16(9)",
        "sldi 4,4,3\n lwax 8,9,4",
        "addi 7,9,4\n sldi 4,4,3\n lwax 8,7,4",
    ],
    ids=["the first entry", "another entry", "all entries", "another member"],
)
def test_two_jumps_may_read_the_same_entries(assemble: Assemble, first: str) -> None:
    found = data_in_code.analyse(Program(elf.read(assemble(text(SECOND.format(first, 10))))))
    assert "12 entries" in found.branches[-1].explain()


@pytest.mark.parametrize(
    "first",
    [
        "lwa 8,0(9)",
        "lwa 8,16(9)",
        "sldi 4,4,2\n lwax 8,9,4",
        "addi 7,9,2\n sldi 4,4,3\n lhax 8,7,4",
    ],
    ids=["the first entry", "another entry", "in other steps", "half of each entry"],
)
def test_two_jumps_that_read_a_number_otherwise_are_refused(assemble: Assemble, first: str) -> None:
    label = "11" if "4,4" not in first else "10"
    source = text("ld 11,.LC2@toc(2)\n " + SECOND.format(first, label), words=".LC2: .quad .La\n")
    assert "use the table at" in refused(assemble(source.replace("-.Lb\n .endr", "-.La\n .endr")))


# -- what others may have changed on the way -------------------------------------------------------

OVER = " std {0},-16(1)\n addi 3,1,-16\n bl g\n nop\n ld {0},-16(1)"
CHANGED = {
    "an entry's address": text(BY_8, f"add 7,9,3\n{OVER.format(7)}\n lwa 8,0(7)"),
    "an entry": text(BY_8, f"lwax 8,9,3\n{OVER.format(8)}"),
    "a target": text(BY_8).replace(" mtctr", f"{OVER.format(8)}\n mtctr"),
}


@pytest.mark.parametrize("source", CHANGED.values(), ids=CHANGED.keys())
def test_what_others_may_have_changed_on_the_stack_is_not_believed(
    assemble: Assemble, source: str
) -> None:
    assert "may have changed" in refused(assemble(source))
    kept = source.replace(" addi 3,1,-16\n", "")
    assert "12 entries" in reason(assemble(kept))
