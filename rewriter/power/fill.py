"""Padding as assemblers and linkers write it.

The problem: where code is aligned, the bytes in front are nobody's: they may grow and shrink.  But
a nop of the programmer's looks the same.  The rule: padding is nops.  With gas the last one ends a
dispatch group where the processor has such a thing, and more than four are jumped over; LLVM's
assembler and ``ld -r`` write plain ones, however many.

Source: binutils, gas/config/tc-ppc.c (ppc_handle_align) and bfd/cpu-powerpc.c; LLVM,
lib/Target/PowerPC/MCTargetDesc/PPCAsmBackend.cpp (writeNopData).
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.power import instruction
from nopfix.rewriter.power.instruction import NOP

if TYPE_CHECKING:
    from collections.abc import Sequence

LONG_PADDING = 16
"""Bytes of padding beyond which gas begins it with a branch."""


class Style(Record):
    """How padding is written: the word that ends it, and whether a long run is jumped over."""

    last: int
    jumps: bool


def fill(size: int, style: Style) -> bytes:
    """The padding that an assembler writes: ``size`` bytes of it in its ``style``."""
    count = size >> 2
    if not count:
        return b""
    words = [NOP] * count
    words[-1] = style.last
    if size > LONG_PADDING and style.jumps:
        words[0] = instruction.branch(size)
    return b"".join(word.to_bytes(4, "little") for word in words)


def fill_style(words: Sequence[int]) -> Style | None:
    """The style of padding that consists of ``words``, None if it isn't padding.

    Exactly what `fill` writes is padding, anything else might be code.  A run that is short enough
    counts as gas's, which would jump over a longer one.
    """
    if not words:
        return None
    *rest, last = words
    if last != NOP and last not in instruction.GROUP_ENDS:
        return None
    jumps = True
    if 4 * len(words) > LONG_PADDING:
        jumps = rest[0] == instruction.branch(4 * len(words))
        if jumps:
            del rest[0]
        elif last != NOP:
            return None
    return Style(last, jumps) if all(word == NOP for word in rest) else None
