from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nopfix.rewriter.layout import calls
from nopfix.rewriter.object import elf
from nopfix.rewriter.object.program import Program
from nopfix.rewriter.power import instruction

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = """
    .abiversion 2
    .text
    .type f,@function
f:  bl ext
    nop
    bl g
    bl _mcount
    bl _savegpr0_29
    bl ext@notoc
    bl f
    bcl 20,31,1f
1:  bl 2f
2:  mflr 0
    bl old
    cror 31,31,31
    bl last
    .size f,.-f
    nop
    .type g,@function
g:  .localentry g,1
    blr
    .size g,.-g
"""


def actions(data: bytes, selection: calls.Selection | None = None) -> dict[str, str]:
    program = Program(elf.read(data))
    found = instruction.sweep(program.words(1), [], program.filling(1))
    sites = list(calls.find(program, 1, found.calls, selection or calls.Selection()))
    return {f"{site.place:#x} {site.callee}": site.action for site in sites}


def test_a_call_gets_a_slot_unless_it_has_one_or_nobody_may_put_one_there(
    assemble: Callable[..., bytes],
) -> None:
    assert actions(assemble(SOURCE)) == {
        "0x0 ext": "has slot",
        "0x8 g": "insert",
        "0xc _mcount": "exempt",
        "0x10 _savegpr0_29": "exempt",
        "0x14 ext": "no TOC",
        "0x18 f": "insert",
        "0x20 f": "reads PC",
        "0x28 old": "has slot",
        "0x30 last": "insert",
    }


def test_a_nop_behind_the_end_of_the_function_is_padding_and_no_slot(
    assemble: Callable[..., bytes],
) -> None:
    assert actions(assemble(SOURCE))["0x30 last"] == "insert"


@pytest.mark.parametrize(
    ("selection", "g", "last"),
    [
        (calls.Selection(only={"g"}), "insert", "not selected"),
        (calls.Selection(exempt={"g"}), "exempt", "insert"),
    ],
)
def test_the_user_can_choose_callees(
    assemble: Callable[..., bytes], selection: calls.Selection, g: str, last: str
) -> None:
    found = actions(assemble(SOURCE), selection)
    assert (found["0x8 g"], found["0x30 last"]) == (g, last)
