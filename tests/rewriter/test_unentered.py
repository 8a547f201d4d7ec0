"""Words that nothing enters: what looks like a branch among them stays as it is.

``SLOT`` in a text is nothing in the object that is rewritten, and a nop in the wanted one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nopfix import rewrite

if TYPE_CHECKING:
    from collections.abc import Callable

    Assemble = Callable[..., bytes]

TEXT = """
    .machine power10
    .abiversion 2
    .globl f
    .type f,@function
f:  mflr 0
    bl g
    SLOT
{body}
    blr
    .size f,.-f
{between}
    .type g,@function
g:  blr
    .size g,.-g
"""
CALL = "    bl g\n    SLOT\n"
LIKE_CALLS = ".long 0x48000009, 0x48000001, 0x4bfffff1\n"


def plain_and_wanted(assemble: Assemble, body: str, between: str = "") -> tuple[bytes, bytes]:
    """The object that lacks the slots, and the one that has them."""
    text = TEXT.format(body=body, between=between)
    return assemble(text.replace("SLOT", "")), assemble(text.replace("SLOT", "nop"))


DATA = {
    "words that a branch leads over": (f"    b 1f\n{LIKE_CALLS}1:\n{CALL}", ""),
    "words with a local name": (f"    b 1f\nnumbers: {LIKE_CALLS}1:\n{CALL}", ""),
    "an object of no size": (f"    b 1f\n.type o,@object\no: {LIKE_CALLS}1:\n{CALL}", ""),
    "a string behind a return": ("", 'text: .ascii "KKKKHHHHKKKK"\n'),
    "bytes that fill no word": ("", "bytes: .byte 1, 2, 3, 4, 9, 0, 0, 0x48, 5\n    .p2align 2\n"),
    "a thread-local object": ("", f".type t,@tls_object\nt: {LIKE_CALLS}.size t, .-t\n"),
    "what a load reads": (
        "    addis 9,2,l@toc@ha\n    lwz 9,l@toc@l(9)\n",
        f"    .globl l\nl: {LIKE_CALLS}",
    ),
    "what a prefixed load reads": ("    mr 9,9\n    plwz 9,l@pcrel\n", f"l: {LIKE_CALLS}"),
    "words behind a tail call": (f"    beq 1f\n    b elsewhere\n{LIKE_CALLS}1:\n{CALL}", ""),
    "words behind a table of addresses": ("", f"t: .8byte f, g\n{LIKE_CALLS}"),
}


@pytest.mark.parametrize(("body", "between"), DATA.values(), ids=DATA)
def test_what_nothing_enters_is_data_whatever_it_looks_like(
    assemble: Assemble, body: str, between: str
) -> None:
    plain, wanted = plain_and_wanted(assemble, body, between)
    assert rewrite(plain).data == wanted


CODE = {
    "a label that a branch leads to": "    beq 2f\n    b 1f\n2:\n{call}1:\n",
    "a visible symbol": "    b 1f\n    .globl entry\nentry:\n{call}1:\n",
    "an address in data": (
        "    b 1f\n2:\n{call}1:\n    .pushsection .data; .8byte 0, 2b; .popsection\n"
    ),
    "a label that mends a fault": (
        "3:  lwz 4,0(3)\n    b 1f\n2:\n{call}1:\n"
        '    .pushsection __ex_table,"a"; .long 3b-., 2b-.; .popsection\n'
    ),
    "an address that an instruction makes": "    pla 9,2f@pcrel\n    b 1f\n2:\n{call}1:\n",
    "a loop that is entered in its midst": "    b 3f\n2:\n{call}3:  bdnz 2b\n",
    "where __morestack comes back to": (
        "    bl __morestack\n    ld 0,16(1)\n    mtlr 0\n    blr\n{call}"
    ),
    "behind a branch that a static key turns off": (
        '7:  b 1f\n    b 9f\n1:\n{call}9:\n    .pushsection __jump_table,"aw"\n'
        "    .long 7b-., 1b-.\n    .8byte key-.\n    .popsection\n"
    ),
    "a call with a relocation": "    b 1f\n    bl elsewhere\n    SLOT\n{call}1:\n",
}


@pytest.mark.parametrize("body", CODE.values(), ids=CODE)
def test_what_something_enters_is_code(assemble: Assemble, body: str) -> None:
    plain, wanted = plain_and_wanted(assemble, body.format(call=CALL))
    assert rewrite(plain).data == wanted
