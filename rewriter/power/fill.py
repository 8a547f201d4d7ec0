"""Padding as the assembler writes it.

The problem: where code is aligned, the bytes in front are nobody's: they may grow and shrink.  But
a nop of the programmer's looks the same.  The rule: padding is nops; the last one ends a dispatch
group where the processor has such a thing; more than four are jumped over.

Source: binutils, gas/config/tc-ppc.c (ppc_handle_align).
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.power import instruction
from nopfix.rewriter.power.instruction import NOP

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONG_PADDING = 16
_GROUP_NOPS = frozenset(instruction.GROUP_NOPS.values())


def fill(size: int, group_nop: int) -> bytes:
    """The padding that the assembler writes: ``size`` bytes of it, ended by ``group_nop``."""
    count = size >> 2
    if not count:
        return b""
    words = [NOP] * count
    words[-1] = group_nop
    if size > _LONG_PADDING:
        words[0] = instruction.branch(size)
    return b"".join(word.to_bytes(4, "little") for word in words)


def fill_style(words: Sequence[int]) -> int | None:
    """The group-ending nop of padding that consists of ``words``, None if it isn't padding.

    Exactly what `fill` writes is padding, anything else might be code.
    """
    if not words:
        return None
    *rest, last = words
    if last != NOP and last not in _GROUP_NOPS:
        return None
    if 4 * len(words) > _LONG_PADDING and rest.pop(0) != instruction.branch(4 * len(words)):
        return None
    return last if all(word == NOP for word in rest) else None
