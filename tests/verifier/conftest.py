"""Objects made of one assembly text, without and with nops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def variants(assemble: Callable[..., bytes]) -> Callable[..., tuple[bytes, bytes]]:
    """A function that assembles a text twice: IN, in which SLOT is nothing, and OUT, in which it
    is a nop.  Other words are given as `word=(text in IN, text in OUT)`.
    """

    def run(source: str, *options: str, **words: tuple[str, str]) -> tuple[bytes, bytes]:
        words = {"SLOT": ("", "nop"), **words}
        texts = [source, source]
        for word, both in words.items():
            texts = [text.replace(word, new) for text, new in zip(texts, both, strict=True)]
        before, after = (assemble(".abiversion 2\n" + text, *options) for text in texts)
        return before, after

    return run
