"""Padding as the assembler writes it, and no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nopfix.rewriter.object import elf
from nopfix.rewriter.power.fill import Style, fill, fill_style, needs_power9
from nopfix.rewriter.power.instruction import GROUP_NOPS, NOP

if TYPE_CHECKING:
    from tests.conftest import Assemble

GROUP = GROUP_NOPS["power7"]
STYLE = Style(GROUP, jumps=True)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, []),
        (4, [GROUP]),
        (12, [NOP, NOP, GROUP]),
        (16, [NOP, NOP, NOP, GROUP]),
        (20, [0x48000014, NOP, NOP, NOP, GROUP]),
    ],
)
def test_padding_is_filled_as_the_assembler_fills_it(size: int, words: list[int]) -> None:
    expected = b"".join(word.to_bytes(4, "little") for word in words)
    assert fill(size, STYLE) == expected
    assert fill_style(words) == (STYLE if words else None)


@pytest.mark.parametrize("size", [20, 28, 60])
def test_long_padding_that_nothing_jumps_over_is_of_plain_nops(size: int) -> None:
    words = [NOP] * (size // 4)
    expected = b"".join(word.to_bytes(4, "little") for word in words)
    assert fill_style(words) == Style(NOP, jumps=False)
    assert fill(size, Style(NOP, jumps=False)) == expected


@pytest.mark.parametrize("words", [[0x38600000], [GROUP, NOP], [*[NOP] * 5, GROUP], [0]])
def test_anything_else_is_not_padding(words: list[int]) -> None:
    assert fill_style(words) is None


SINCE_POWER9 = """
    lxv 34,0(3); stxv 34,0(3); lxvx 34,3,4; stxvx 34,3,4; lxvwsx 34,3,4; lxvl 34,3,4
    lxvll 34,3,4; stxvl 34,3,4; stxvll 34,3,4; lxsd 2,8(3); lxssp 2,8(3); stxsd 2,8(3)
    stxssp 2,8(3); lxsibzx 34,3,4; lxsihzx 34,3,4; stxsibx 34,3,4; stxsihx 34,3,4
    lxvh8x 34,3,4; lxvb16x 34,3,4; stxvh8x 34,3,4; stxvb16x 34,3,4; mfvsrld 3,34
    mtvsrws 34,3; mtvsrdd 34,3,4; cnttzw 3,4; cnttzw. 3,4; cnttzd 3,4; darn 3,1
    extswsli 3,4,7; extswsli. 3,4,40; modsd 3,4,5; modud 3,4,5; modsw 3,4,5; moduw 3,4,5
    maddld 3,4,5,6; maddhd 3,4,5,6; maddhdu 3,4,5,6; addpcis 3,1; setb 3,1
    cmprb 0,1,3,4; cmpeqb 0,3,4; xxspltib 34,5
    setbc 3,1; setbcr 3,1; setnbc 3,1; setnbcr 3,1; brw 3,4; brd 3,4; brh 3,4
    lxvp 34,0(3); stxvp 34,0(3); lxvpx 34,3,4; stxvpx 34,3,4
"""
BEFORE = """
    lxvd2x 34,3,4; stxvw4x 34,3,4; lxsdx 34,3,4; mtvsrd 34,3
    mfvsrwz 3,34; cntlzw 3,4; cntlzd 3,4; sradi 3,4,40; divd 3,4,5; divweu 3,4,5; isel 3,4,5,6
    vmsumubm 3,4,5,6; vperm 3,4,5,6; bclr 20,0; crand 1,2,3; isync; xxlor 34,35,36; xxspltw 34,35,1
    cmpb 3,4,5; cmpd 3,4; mfocrf 3,128; ldbrx 3,4,5; bcctr 20,0; xxpermdi 34,35,36,2
"""


def assembled(assemble: Assemble, text: str) -> list[int]:
    """The words of .text."""
    obj = elf.read(assemble(text, "-mpower10"))
    number = next(section.number for section in obj.sections if section.name == ".text")
    return list(memoryview(bytes(obj.contents(number))).cast("I"))


def test_instructions_that_came_with_power9_tell_how_padding_ends(assemble: Assemble) -> None:
    words = assembled(assemble, SINCE_POWER9)
    assert len(words) > 50
    assert [f"{word:08x}" for word in words if not needs_power9(word)] == []


def test_what_processors_before_power9_have_tells_nothing(assemble: Assemble) -> None:
    words = assembled(assemble, BEFORE)
    assert len(words) > 20
    assert [f"{word:08x}" for word in words if needs_power9(word)] == []
