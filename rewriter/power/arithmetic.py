"""What fixed-point instructions compute, with numbers.

The problem: whether an index can have a value shows where the code that makes it is run with
numbers.  The processor's registers hold 64 bits, and what doesn't fit into them or is masked out at
the top is gone; a program that means numbers doesn't mean that.

The rule: `find` gives for an instruction the registers that it computes with and a function of what
they hold, as signed numbers of 64 bits.  The function says what the target holds then, and whether
any of it was lost: high bits that were set, or what went beyond a sign.  Low bits that are shifted
out are a division's rest, and nothing is lost.  Instructions that compute with the carry or the
condition register have no function, and loads have none.

Source: Power ISA 3.1, Book I, 3.3.
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.power import opcodes
from nopfix.rewriter.power.instruction import signed_field

if TYPE_CHECKING:
    from collections.abc import Callable

    Outcome = tuple[int, bool]
    """What the target holds, and whether something was lost."""

_ALL = (1 << 64) - 1
_WORD = (1 << 32) - 1


class Computation(Record):
    """What ``function`` makes of the registers ``operands``; -1 in place of one is the number 0.

    ``is_product`` says that it multiplies the first two, or one and a number that it holds.  The
    function raises ZeroDivisionError where what the processor gives isn't defined.
    """

    operands: tuple[int, ...]
    function: Callable[..., Outcome]
    is_product: bool = False


def find(word: int) -> Computation | None:
    """What the unprefixed instruction ``word`` computes, None if it isn't known here."""
    row = opcodes.find(word)
    name = row.mnemonic if row is not None else ""
    rs, ra, rb = word >> 21 & 31, word >> 16 & 31, word >> 11 & 31
    if name in _WITH_SIGNED:
        number = signed_field(word, 16)
        return Computation((ra,), _WITH_SIGNED[name](number), name == "mulli")
    if name in _WITH_UNSIGNED:
        return Computation((rs,), _WITH_UNSIGNED[name](word & 0xFFFF))
    if name in ("addi", "addis"):
        number = signed_field(word, 16) << (16 if name == "addis" else 0)
        return Computation((ra or -1,), lambda a: _fits(a + number))
    if name in _ROTATES:
        return _rotate(name, word)
    if name in _OF_TWO:
        return Computation((ra, rb), _OF_TWO[name], name in ("mulld", "mullw"))
    if name == "neg":
        return Computation((ra,), lambda a: _fits(-a))
    if name == "maddld":
        operands = (ra, rb, word >> 6 & 31)
        return Computation(operands, lambda a, b, c: _fits(a * b + c), is_product=True)
    if name in _LOGICAL:
        return Computation((rs, rb), _LOGICAL[name])
    if name in _OF_ONE:
        return Computation((rs,), _OF_ONE[name])
    if name in _SHIFTED:
        shift = rb if name == "srawi" else rb | (word & 2) << 4
        return Computation((rs,), _SHIFTED[name](shift))
    return None


def low_bits(bits: int, signed: bool) -> Callable[[int], Outcome]:
    """What keeps the low ``bits`` bits of a register, as a load of what was stored does."""
    if signed:
        return lambda a: _kept(a, _signed(a, bits))
    return lambda a: _kept(a, a & (1 << bits) - 1)


# -- numbers ---------------------------------------------------------------------------------------


def _signed(value: int, bits: int = 64) -> int:
    """The number that the low ``bits`` bits of ``value`` are."""
    value &= (1 << bits) - 1
    return value - (value >> bits - 1 << bits)


def _fits(value: int) -> Outcome:
    """``value`` in a register."""
    held = _signed(value)
    return held, held != value


def _kept(value: int, held: int) -> Outcome:
    """``held``, which is what was kept of ``value``."""
    return _signed(held), _signed(held) != value


def _is_word(*values: int) -> bool:
    """Whether words are all that there is of ``values``."""
    return all(-1 << 31 <= value <= _WORD for value in values)


def _word(value: int) -> int:
    return value & _WORD


def _of_words(compute: Callable[..., int]) -> Callable[..., Outcome]:
    """What is computed of signed words."""

    def function(*values: int) -> Outcome:
        return _fits(compute(*(_signed(v, 32) for v in values)))[0], not _is_word(*values)

    return function


def _of_unsigned_words(compute: Callable[..., int]) -> Callable[..., Outcome]:
    """What is computed of words without a sign."""

    def function(*values: int) -> Outcome:
        return _fits(compute(*map(_word, values)))[0], not _is_word(*values)

    return function


def _of_doublewords(compute: Callable[..., int]) -> Callable[..., Outcome]:
    """What is computed of doublewords without a sign."""
    return lambda *values: (_signed(compute(*(v & _ALL for v in values))), False)


def _quotient(a: int, b: int) -> int:
    """``a`` / ``b`` without its fraction."""
    return abs(a) // abs(b) * (-1 if (a < 0) != (b < 0) else 1)


def _rest(a: int, b: int) -> int:
    return a - b * _quotient(a, b)


def _zeros(value: int, bits: int) -> int:
    """The zero bits below the lowest one of ``value``, which has ``bits`` bits."""
    return (value & -value).bit_length() - 1 if value else bits


_WITH_SIGNED: dict[str, Callable[[int], Callable[[int], Outcome]]] = {
    "mulli": lambda n: lambda a: _fits(a * n),
    "subfic": lambda n: lambda a: _fits(n - a),
    "addic": lambda n: lambda a: _fits(a + n),
    "addic.": lambda n: lambda a: _fits(a + n),
}
_WITH_UNSIGNED: dict[str, Callable[[int], Callable[[int], Outcome]]] = {
    "ori": lambda n: lambda a: (a | n, False),
    "oris": lambda n: lambda a: (a | n << 16, False),
    "xori": lambda n: lambda a: (a ^ n, False),
    "xoris": lambda n: lambda a: (a ^ n << 16, False),
    "andi.": lambda n: lambda a: (a & n, a >> n.bit_length() != 0),
    "andis.": lambda n: lambda a: (a & n << 16, a >> (n << 16).bit_length() != 0),
}
"""Functions of one register, by the number in the instruction."""

_OF_TWO: dict[str, Callable[[int, int], Outcome]] = {
    "add": lambda a, b: _fits(a + b),
    "addc": lambda a, b: _fits(a + b),
    "subf": lambda a, b: _fits(b - a),
    "subfc": lambda a, b: _fits(b - a),
    "mulld": lambda a, b: _fits(a * b),
    "mullw": _of_words(lambda a, b: a * b),
    "mulhw": _of_words(lambda a, b: a * b >> 32),
    "mulhwu": _of_unsigned_words(lambda a, b: a * b >> 32),
    "mulhd": lambda a, b: (a * b >> 64, False),
    "mulhdu": _of_doublewords(lambda a, b: a * b >> 64),
    "divw": _of_words(_quotient),
    "divwu": _of_unsigned_words(_quotient),
    "divd": lambda a, b: _fits(_quotient(a, b)),
    "divdu": _of_doublewords(_quotient),
    "modsw": _of_words(_rest),
    "moduw": _of_unsigned_words(_rest),
    "modsd": lambda a, b: _fits(_rest(a, b)),
    "modud": _of_doublewords(_rest),
}
"""Functions of RA and RB.  The high half of a product of words is in both halves of its target; the
upper one counts for nothing."""

DIVISIONS = tuple(_OF_TWO[name] for name in ("divw", "divwu", "divd", "divdu"))
"""The functions that give a quotient of two registers."""

_LOGICAL: dict[str, Callable[[int, int], Outcome]] = {
    "and": lambda a, b: (a & b, a & b not in (a, b)),
    "andc": lambda a, b: (a & ~b, a & ~b != a),
    "or": lambda a, b: (a | b, False),
    "orc": lambda a, b: (a | ~b, False),
    "xor": lambda a, b: (a ^ b, False),
    "nor": lambda a, b: (~(a | b), False),
    "nand": lambda a, b: (~(a & b), a & b not in (a, b)),
    "eqv": lambda a, b: (~(a ^ b), False),
    "slw": lambda a, b: _shifted_left(a, b, 32),
    "sld": lambda a, b: _shifted_left(a, b, 64),
    "srw": lambda a, b: (_word(a) >> (b & 63), not _is_word(a) or b & 63 != b),
    "srd": lambda a, b: (_signed((a & _ALL) >> (b & 127)), b & 127 != b),
    "sraw": lambda a, b: (_signed(a, 32) >> (b & 63), not _is_word(a) or b & 63 != b),
    "srad": lambda a, b: (a >> (b & 127), b & 127 != b),
}
"""Functions of RS and RB."""


def _shifted_left(a: int, b: int, bits: int) -> Outcome:
    shift = b & 2 * bits - 1
    held = (a << shift) & (1 << bits) - 1
    held = _signed(held) if bits == 64 else held
    return held, held != a << shift or shift != b


_OF_ONE: dict[str, Callable[[int], Outcome]] = {
    "extsb": lambda a: _kept(a, _signed(a, 8)),
    "extsh": lambda a: _kept(a, _signed(a, 16)),
    "extsw": lambda a: _kept(a, _signed(a, 32)),
    "cntlzw": lambda a: (32 - _word(a).bit_length(), not _is_word(a)),
    "cntlzd": lambda a: (64 - (a & _ALL).bit_length(), False),
    "cnttzw": lambda a: (_zeros(_word(a), 32), not _is_word(a)),
    "cnttzd": lambda a: (_zeros(a & _ALL, 64), False),
    "popcntw": lambda a: (
        bin(_word(a)).count("1") | bin((a & _ALL) >> 32).count("1") << 32,
        False,
    ),
    "popcntd": lambda a: (bin(a & _ALL).count("1"), False),
}
"""Functions of RS."""

_SHIFTED: dict[str, Callable[[int], Callable[[int], Outcome]]] = {
    "srawi": lambda shift: lambda a: (_signed(a, 32) >> shift, not _is_word(a)),
    "sradi": lambda shift: lambda a: (a >> shift, False),
    "extswsli": lambda shift: (
        lambda a: (
            _signed(_signed(a, 32) << shift),
            _fits(_signed(a, 32) << shift)[1] or _signed(a, 32) != a,
        )
    ),
}
"""Functions of one register, by how far they shift."""

# -- rotates ---------------------------------------------------------------------------------------

_ROTATES = ("rldicl", "rldicr", "rldic", "rldimi", "rlwinm", "rlwimi")


def _rotate(name: str, word: int) -> Computation | None:
    rs, ra = word >> 21 & 31, word >> 16 & 31
    bits, shift, begin, end = 32, word >> 11 & 31, word >> 6 & 31, word >> 1 & 31
    if name[2] == "d":
        bits, shift, edge = 64, word >> 11 & 31 | (word & 2) << 4, word >> 6 & 31 | word & 32
        begin, end = {"rldicl": (edge, 63), "rldicr": (0, edge)}.get(name, (edge, 63 - shift))
    elif begin > end:
        return None  # It keeps parts of two copies of the word, side by side.
    full = (1 << bits) - 1
    mask = _mask(begin, end, bits)
    source = (mask >> shift | mask << bits - shift) & full
    is_run = not source & source + (source & -source)

    def taken(a: int) -> Outcome:
        value = a & full
        held = (value << shift | value >> bits - shift) & mask
        above = value >> source.bit_length() if is_run else value & ~source
        return _signed(held), above != 0 or (bits == 32 and not _is_word(a))

    def inserted(a: int, b: int) -> Outcome:
        held, is_lost = taken(a)
        return _signed(b & ~mask | held & mask), is_lost or b & mask != 0

    if name in ("rldimi", "rlwimi"):
        return Computation((rs, ra), inserted)
    return Computation((rs,), taken)


def _mask(begin: int, end: int, bits: int) -> int:
    """Ones from bit ``begin`` to bit ``end`` of ``bits``, as the ISA counts them; round the end."""
    full = (1 << bits) - 1
    head, tail = full >> begin, full << bits - 1 - end & full
    return head & tail if begin <= end else head | tail
