"""Which numbers an index may be: all that are some number of steps from a first one.

A compiler multiplies an index by the bytes of an entry before it adds it to a table's address, and
a program may leave entries out before that: `t[x & 6]` reads each second one, `t[2 * x + 1]` the
others. What a register holds is taken for any number until an instruction says more of it (Power
ISA 3.1, Book I, 3.3.9 for sums and products, 3.3.13 for what is masked, 3.3.14 for rotates).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_MULLI, _ADDI, _RLWINM, _ANDI, _RLD, _OPCODE_31 = 7, 14, 21, 28, 30, 31
_RLDICL, _RLDICR, _RLDIC = 0, 1, 2
_ADD, _EXTENSIONS = 266, (922, 954, 986)
"""Extended opcodes of 31: add; extsh, extsb, extsw."""


class Progression(NamedTuple):
    """The numbers `first`, `first + step`, `first + 2 * step` and so on; those in front as well."""

    first: int
    step: int

    def times(self, factor: int) -> Progression:
        """Their products with a number."""
        return Progression(self.first * factor, abs(self.step * factor))

    def plus(self, other: Progression) -> Progression:
        """All sums of one of them and one of others."""
        return Progression(self.first + other.first, math.gcd(self.step, other.step))

    def halved(self, times: int) -> Progression:
        """What a shift to the right by `times` bits makes of them."""
        whole = not self.first % (1 << times) and not self.step % (1 << times)
        return Progression(self.first >> times, self.step >> times) if whole else ANY

    def without(self, low: int) -> Progression:
        """What is left where as many low bits are cleared."""
        unit = 1 << low
        if self.step % unit:
            return Progression(0, unit)
        return Progression(self.first // unit * unit, self.step)

    def within(self, high: int) -> Progression:
        """What is left where only as many low bits are kept; an index has no more than 32."""
        return self if high >= 32 else Progression(self.first, math.gcd(self.step, 1 << high))


ANY = Progression(0, 1)


def result(word: int, held: Callable[[int], Progression]) -> Progression:
    """What an instruction may give, of which `held` says what a register holds in front of it."""
    opcode, first, second = word >> 26, word >> 21 & 31, word >> 16 & 31
    if opcode == _MULLI:
        return held(second).times(_signed(word))
    if opcode == _ADDI and second:
        return held(second).plus(Progression(_signed(word), 0))
    if opcode == _ANDI:
        kept = word & 0xFFFF
        return held(first).without((kept & -kept).bit_length() - 1).within(kept.bit_length())
    if opcode == _RLWINM:
        return _rotated(held(first), 32, word >> 11 & 31, word >> 6 & 31, word >> 1 & 31)
    if opcode == _RLD:
        return _doubleword_rotated(word, held(first))
    if opcode == _OPCODE_31 and word >> 1 & 0x3FF == _ADD:
        return held(second).plus(held(word >> 11 & 31))
    if opcode == _OPCODE_31 and word >> 1 & 0x3FF in _EXTENSIONS:
        return held(first)
    return ANY


def _doubleword_rotated(word: int, source: Progression) -> Progression:
    """What rldicl, rldicr and rldic give."""
    shift, end = word >> 11 & 31 | word << 4 & 32, word >> 6 & 31 | word & 32
    kept = {_RLDICL: (end, 63), _RLDICR: (0, end), _RLDIC: (end, 63 - shift)}
    form = word >> 2 & 7
    return _rotated(source, 64, shift, *kept[form]) if form in kept else ANY


def _rotated(source: Progression, width: int, shift: int, begin: int, end: int) -> Progression:
    """What a rotate to the left gives that keeps the bits from `begin` to `end`, 0 the highest."""
    low, high = width - 1 - end, width - begin
    if begin <= end and low >= shift:
        return source.times(1 << shift).without(low).within(high)
    if begin <= end and high <= shift:
        return source.halved(width - shift).without(low).within(high)
    return ANY


def _signed(word: int) -> int:
    return ((word & 0xFFFF) ^ 0x8000) - 0x8000
