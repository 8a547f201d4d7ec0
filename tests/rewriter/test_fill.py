"""Padding as the assembler writes it, and no other."""

from __future__ import annotations

import pytest

from nopfix.rewriter.power.fill import Style, fill, fill_style
from nopfix.rewriter.power.instruction import GROUP_NOPS, NOP

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
