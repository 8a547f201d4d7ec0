"""Which registers an instruction writes, and whether the next one follows: as gas encodes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nopfix.verifier import elf, registers
from nopfix.verifier.code import words_of

if TYPE_CHECKING:
    from collections.abc import Callable

WRITTEN = {
    "addi 3,4,5": {3},
    "addis 3,4,5": {3},
    "mulli 3,4,5": {3},
    "add 3,4,5": {3},
    "addo. 3,4,5": {3},
    "subf 3,4,5": {3},
    "neg 3,4": {3},
    "isel 3,4,5,6": {3},
    "mflr 3": {3},
    "mfcr 3": {3},
    "mr 3,4": {3},
    "extsw 3,4": {3},
    "sldi 3,4,2": {3},
    "slwi 3,4,2": {3},
    "rldimi 3,4,2,5": {3},
    "srawi 3,4,2": {3},
    "sradi 3,4,40": {3},
    "ori 3,4,5": {3},
    "lwz 3,4(5)": {3},
    "lwa 3,4(5)": {3},
    "ld 3,8(5)": {3},
    "lwax 3,4,5": {3},
    "ldx 3,4,5": {3},
    "ldu 3,8(5)": {3, 5},
    "lwzu 3,4(5)": {3, 5},
    "lwzux 3,4,5": {3, 4},
    "lwaux 3,4,5": {3, 4},
    "stdu 3,8(5)": {5},
    "stwu 3,8(5)": {5},
    "stdux 3,4,5": {4},
    "lfdu 3,8(5)": {5},
    "lq 4,16(6)": {4, 5},
    "addpcis 3,0": {3},
    "maddld 3,4,5,6": {3},
    "std 3,8(5)": set(),
    "stwx 3,4,5": set(),
    "cmpwi 3,4": set(),
    "cmplw 3,4": set(),
    "mtctr 3": set(),
    "lfd 3,8(5)": set(),
    "lxv 3,16(5)": set(),
    "fadd 3,4,5": set(),
    "sync": set(),
    "dcbt 3,4": set(),
    "bctr": set(),
}
MORE = {"cntlzd 3,4": {3}, "popcntd 3,4": {3}, "mfvsrd 3,4": {3}, "cmpb 3,4,5": {3}}
"""Those of which more is said than they write."""
GOES_ON = {
    **dict.fromkeys(("bctr", "blr", "b .+8", "bc 20,0,.+8", "trap", "btar"), False),
    **dict.fromkeys(("bctrl", "bl .+8", "beq .+8", "beqlr", "bdnz .+8", "isync", "nop"), True),
}
CALLS = {
    **dict.fromkeys(("bl .+8", "bctrl", "blrl", "beql .+8"), True),
    **dict.fromkeys(("bl .+4", "bcl 20,31,.+4", "bctr", "b .+8", "isync", "crxor 3,4,5"), False),
}


@pytest.fixture
def word(assemble: Callable[..., bytes]) -> Callable[[str], int]:
    """A function that gives the word of an instruction."""

    def run(text: str) -> int:
        (code,) = (s for s in elf.read(assemble(text + "\n", "-mpower9")).sections if s.size == 4)
        return words_of(code.data)[0]

    return run


@pytest.mark.parametrize("text", WRITTEN)
def test_what_an_instruction_writes(text: str, word: Callable[[str], int]) -> None:
    assert set(registers.written(word(text))) == WRITTEN[text]


@pytest.mark.parametrize("text", MORE)
def test_nothing_that_is_written_is_left_out(text: str, word: Callable[[str], int]) -> None:
    assert set(registers.written(word(text))) >= MORE[text]


@pytest.mark.parametrize("text", GOES_ON)
def test_whether_the_next_instruction_follows(text: str, word: Callable[[str], int]) -> None:
    assert registers.goes_on(word(text)) == GOES_ON[text]


@pytest.mark.parametrize("text", CALLS)
def test_what_is_a_call(text: str, word: Callable[[str], int]) -> None:
    assert registers.is_call(word(text)) == CALLS[text]
