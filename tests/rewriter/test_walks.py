"""Pointers that go through an array of label differences: in gas text, one rule after the other.

The array that a pointer begins in is silent: taken for another one, that one's numbers would be
changed, and the program's would stay.
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

NUMBERS = "1,1,1,1"
"""No label differences: they lead to no instruction."""
WALK = """
 .abiversion 2
 .type f,@function
f: ld 30,.LC0@toc(2)
 ld 31,.LC1@toc(2)
 {first}
0: {next}
 add 9,9,30
 mtctr 9
 bctr
.La: li 3,1
 {opcode}
 b 0b
.Lb: blr
 .size f,.-f
 .section .rodata
 .align 3
 .type u,@object
u: .long {front}
 .size u,.-u
 .type t,@object
t: .long .La-.La,.Lb-.La,.La-.La,.Lb-.La
 .size t,.-t
 .type v,@object
v: .long 8,8,8,8
 .size v,.-v
 .section .toc,"aw"
.LC0: .quad .La
.LC1: .quad t{shift}
.LC2: .quad u
"""


def walk(load: str = "lwa 9,0(31)\n addi 31,31,4", shift: str = "", **others: str) -> str:
    given = {"first": "", "opcode": "", "front": "8,8,8,8"} | others
    return WALK.format(next=load, shift=shift, **given)


BEFORE = "lwzu 9,4(31)\n extsw 9,9"
ALL = {
    "from its start on": walk(),
    "by the sum that a load leaves": walk(BEFORE, "-4", front=NUMBERS),
    "by a sum in front of the load": walk("addi 31,31,4\n lwa 9,0(31)", "-4", front=NUMBERS),
    "from behind where the load reads": walk("lwa 9,-8(31)\n addi 31,31,4", "+8"),
    "from its middle on": walk(shift="+4"),
    "from its end": walk("lwa 9,0(31)\n addi 31,31,-4", "+12"),
    "through a copy": walk("lwa 9,0(31)\n addi 29,31,4\n mr 31,29"),
    "through the stack": walk(
        "ld 29,-16(1)\n lwa 9,0(29)\n addi 29,29,4\n std 29,-16(1)", first="std 31,-16(1)"
    ),
    "in two ways": walk(opcode="bne 0,0b\n lwa 9,0(31)\n addi 31,31,4\n b 0b+8"),
    "or skips some": walk(opcode="bne 0,0b\n addi 31,31,4"),
    "and is compared": walk(opcode="cmpld 31,30"),
    "and another one goes through the array in front": walk(
        first="ld 29,.LC2@toc(2)", opcode="lwz 4,0(29)\n addi 29,29,4"
    ),
    "and a call is in the way": walk(opcode="bl g\n nop"),
}
OTHERS = {
    "it may begin in the array in front": walk(shift="-4"),
    "it may be the last entry of the array in front": walk(
        BEFORE, "-4", first="lwa 9,-4(31)\n b 0f+8"
    ).replace(".quad t-4", ".quad t"),
    "it may begin at the last entry of the array in front": walk(BEFORE, "-4"),
    "it may go on into the array behind": walk(shift="+12").replace(
        ".Lb-.La\n .size t", ".La-.La\n .size t"
    ),
    "its steps are smaller than an entry": walk("lwa 9,0(31)\n addi 31,31,2"),
    "nobody knows in what steps it goes": walk("lwa 9,0(31)\n add 31,31,5"),
    "it is read for something else": walk(opcode="lwz 4,4(31)"),
    "another one may be read for something else": walk(opcode="add 5,31,6\n lwz 4,0(5)"),
    "it is read for something else, by another pointer": walk(
        first="ld 29,.LC1@toc(2)", opcode="lwz 4,0(29)\n addi 29,29,4"
    ),
    "a function may read it": walk(opcode="mr 3,31\n bl g\n nop"),
    "a function may read it by a second argument": walk(opcode="mr 4,31\n bl g\n nop"),
    "a pointer's function may read it": walk(opcode="mr 3,31\n mtctr 5\n bctrl\n ld 2,24(1)"),
    "who is tail-called may read it": walk(opcode="mr 3,31\n bne 8f\n b g\n8:"),
    "who is tail-called by a pointer may read it": walk(
        opcode="mr 3,31\n bne 8f\n mr 12,5\n mtctr 12\n bctr\n8:"
    ),
    "who called may read it": walk(opcode="bne 8f\n mr 3,31\n blr\n8:"),
    "it is kept in memory": walk(opcode="std 31,0(5)"),
    "it is kept in memory, with a prefix": walk(opcode="pstd 31,0(5)"),
    "it is kept on the stack, of which others know": walk(
        opcode="std 31,-16(1)\n addi 3,1,-16\n bl g\n nop"
    ),
    "it came over the stack, of which others know": walk(
        "ld 29,-16(1)\n lwa 9,0(29)\n addi 29,29,4\n std 29,-16(1)",
        first="std 31,-16(1)",
        opcode="addi 3,1,-16\n bl g\n nop",
    ),
    "the program may change it": walk().replace(".section .rodata", ".data"),
    "no symbol says where it ends": walk().replace(" .type t,@object\n", ""),
}


@pytest.mark.parametrize("text", ALL.values(), ids=ALL.keys())
def test_a_pointer_goes_through_an_array(assemble: Assemble, text: str) -> None:
    found = data_in_code.analyse(Program(elf.read(assemble(text))))
    assert "4 entries, all of its symbol" in found.branches[0].explain()
    places = {one.place for numbers in found.differences.values() for one in numbers}
    assert places == {16, 20, 24, 28}  # and none of the arrays beside


@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS.keys())
def test_a_pointer_is_refused_where(assemble: Assemble, text: str) -> None:
    assert "can't be followed" in refused(assemble(text, "-mpower10"))


def test_the_distance_of_two_labels_leads_to_the_first(assemble: Assemble) -> None:
    code = " subf 9,30,31\n {}\n add 9,9,30\n mtctr 9\n bctr\n"
    head = WALK.partition(" {first}")[0] + code + WALK.partition(" bctr\n")[2]
    text = (
        head.replace("{opcode}", "")
        .replace("{front}", NUMBERS)
        .replace(".quad t{shift}", ".quad .Lb")
    )
    text = text.replace(" b 0b\n", " blr\n")
    for extend in ("", " extsw 9,9"):
        assert reason(assemble(text.format(extend))).endswith(
            f"the address .text+{0x20 + 4 * (extend != ''):#x}"
        )
    for other in ("extsh 9,9", "rldicl 9,9,0,32", "neg 9,9", "mr 9,5\n add 9,9,9"):
        assert "can't be followed" in refused(assemble(text.format(other)))
    other_base = text.replace(" add 9,9,30", " add 9,9,31")
    assert "can't be followed" in refused(assemble(other_base.format("")))
