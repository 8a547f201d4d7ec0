"""Padding as the assembler writes it, and no other."""

from __future__ import annotations

import pytest

from nopfix.rewriter.power.fill import fill, fill_style
from nopfix.rewriter.power.instruction import GROUP_NOPS, NOP

GROUP = GROUP_NOPS["power7"]


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
    assert fill(size, GROUP) == expected
    assert fill_style(words) == (GROUP if words else None)


@pytest.mark.parametrize("words", [[0x38600000], [GROUP, NOP], [NOP] * 6, [0]])
def test_anything_else_is_not_padding(words: list[int]) -> None:
    assert fill_style(words) is None
