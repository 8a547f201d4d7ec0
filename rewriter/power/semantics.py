"""What an instruction does to the registers that a jump can depend on.

The problem: to show where a ``bctr`` goes, the value of CTR is followed backwards through the code,
so of every instruction on the way two things must be known: which registers it may write, and, for
the few that compute addresses, what it computes.

The rule: every answer is derived from the instruction's row in `power.opcodes`.  What is written
errs on the side of too much: a word without a row is taken to write every register and every
condition register field.  `operation` knows only the formulas that compilers put between a table's
address and the jump; everything else is opaque.

Calls: of the registers that a call may change, only r3 and r4 come back with a meaning (64-bit
ELFv2 ABI, 2.2.3.3).  A correct program reads any other volatile register behind a call only where
the compiler knows that this callee leaves it alone (-fipa-ra), so a call writes r3 and r4 here and
the rest keeps its value.

Source: Power ISA 3.1, Book I, chapters 2 to 7.  Fields are named as there.
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING, Literal, Record
from nopfix.rewriter.power.instruction import CTR, LR, signed_field
from nopfix.rewriter.power.opcodes import find, find_prefixed

if TYPE_CHECKING:
    from collections.abc import Callable

    from nopfix.rewriter.power.opcodes import Row

EVERYTHING = (1 << 34) - 1
CALL_RESULTS = 1 << 3 | 1 << 4 | 1 << LR
"""What a call leaves changed, in the sense of this module's essay."""

_GENERAL = 0xFFFFFFFF
_SYSTEM_CALL = 0x1FF9 | 1 << CTR | 1 << LR
"""r0, r3 to r12, CTR and LR: Linux, Documentation/powerpc/syscall64-abi.rst."""

_RT, _RA, _RB = 21, 16, 11
"""How far to shift a field to the right end of the word; RS and BF or BT begin where RT does."""

Kind = Literal["copy", "add", "subtract", "multiply", "extend", "scale", "select", "load", "opaque"]


class Operation(Record):
    """What an instruction computes into ``target``.

    ``kind`` and what goes with it:

    - ``copy``: ``source``
    - ``add``: ``source`` + ``other`` (registers), or ``source`` + ``immediate`` with other -1;
      source -1 stands for the number 0
    - ``subtract``: ``source`` - ``other``
    - ``multiply``: ``source`` times ``immediate``
    - ``extend``: the low ``size`` bits of ``source``, sign-extended if ``signed``
    - ``scale``: ``source`` shifted left by ``immediate`` bits, at most ``limit`` (-1: unknown)
    - ``select``: ``source`` or ``other``; source -1 stands for the number 0
    - ``load``: ``size`` bytes at ``source`` + ``other`` or ``source`` + ``immediate``,
      sign-extended if ``signed``; of one with update this is what it loads
    - ``opaque``: anything else
    """

    kind: Kind
    target: int
    source: int = -1
    other: int = -1
    immediate: int = 0
    size: int = 0
    signed: bool = False
    limit: int = -1


_OPAQUE = Operation("opaque", -1)


# -- calls -----------------------------------------------------------------------------------------


def is_call(word: int) -> bool:
    """Whether ``word`` calls: any branch with the link bit, but for those that only read the PC.

    ``bcl 20,31,.+4`` and ``bl .+4`` write LR and nothing else.
    """
    if not word & 1:
        return False
    row = find(word)
    return row is not None and "LK" in row.writes and not reads_address(word)


def reads_address(word: int) -> bool:
    """Whether ``word`` only puts the address behind it into LR: ``bl .+4``, ``bcl 20,31,.+4``."""
    return word == 0x48000005 or (word >> 26 == 16 and word & 0xFFFF == 5)


# -- registers written -----------------------------------------------------------------------------


def written(word: int) -> int:
    """The registers that ``word`` may write, as a set of bits: 0 to 31, `CTR` and `LR`.

    ``word`` is an unprefixed instruction, see `written_by_prefixed` for the others.
    """
    return _written(find(word), word)


def written_by_prefixed(prefix: int, suffix: int) -> int:
    """The registers that a prefixed instruction may write, as a set of bits."""
    return _written(find_prefixed(prefix, suffix), suffix)


def _written(row: Row | None, word: int) -> int:
    if row is None:
        return EVERYTHING
    result = 0
    for name in row.writes:
        registers = _WRITTEN.get(name)
        if registers is not None:
            result |= registers(word)
    return result


def _written_by_link(word: int) -> int:
    if is_call(word):
        return CALL_RESULTS
    return (word & 1) << LR


def _counted(word: int) -> int:
    """CTR, unless the branch's BO field says that it isn't counted down."""
    return 0 if word >> _RT & 0b00100 else 1 << CTR


def _special(word: int) -> int:
    """`CTR` or `LR`, if ``word`` moves from or to one of them, else -1.

    The two halves of the SPR's number are swapped in the word.
    """
    return {9 << 5: CTR, 8 << 5: LR}.get(word >> _RB & 0x3FF, -1)


def _named_special(word: int) -> int:
    special = _special(word)
    return 0 if special < 0 else 1 << special


_WRITTEN: dict[str, Callable[[int], int]] = {
    "RT": lambda word: 1 << (word >> _RT & 31),
    "RA": lambda word: 1 << (word >> _RA & 31),
    "RTp": lambda word: 3 << (word >> _RT & 30),
    "RT..R31": lambda word: _GENERAL << (word >> _RT & 31) & _GENERAL,
    "R0..R31": lambda _: _GENERAL,
    "SPR": _named_special,
    "LK": _written_by_link,
    "BO": _counted,
    "SC": lambda _: _SYSTEM_CALL,
    "EVERYTHING": lambda _: EVERYTHING,
}
"""The registers behind each name of the table; the names that aren't here stand for others."""


# -- registers read --------------------------------------------------------------------------------


def read(word: int) -> int:
    """The registers that the unprefixed instruction ``word`` depends on, as `written` gives them.

    What a called function reads, or the system, isn't among them.
    """
    row = find(word)
    if row is None:
        return EVERYTHING
    result = 0
    for name in row.reads.translate(_PUNCTUATION).split():
        registers = _READ.get(name)
        if registers is not None:
            result |= registers(word)
    return result


_PUNCTUATION = str.maketrans("(),", "   ")

_READ: dict[str, Callable[[int], int]] = {
    "RS": lambda word: 1 << (word >> _RT & 31),
    "RA": lambda word: 1 << (word >> _RA & 31),
    "RA0": lambda word: 1 << (word >> _RA & 31) & ~1,
    "RB": lambda word: 1 << (word >> _RB & 31),
    "RC": lambda word: 1 << (word >> 6 & 31),
    "RSp": lambda word: 3 << (word >> _RT & 30),
    "RT+1": lambda word: 1 << ((word >> _RT) + 1 & 31),
    "RT+2": lambda word: 1 << ((word >> _RT) + 2 & 31),
    "RS..R31": lambda word: _GENERAL << (word >> _RT & 31) & _GENERAL,
    "R0..R31": lambda _: _GENERAL,
    "SPR": _named_special,
    "BO": _counted,
    "LR": lambda _: 1 << LR,
    "CTR": lambda _: 1 << CTR,
}
"""The registers behind each name in a formula; the names that aren't here stand for others."""


# -- condition register fields ---------------------------------------------------------------------

_ALL_FIELDS = 0xFF


def may_write_condition(word: int, field: int) -> bool:
    """Whether ``word`` may write condition register field ``field`` (0 to 7)."""
    row = find(word)
    if row is None:
        return True
    return any(_CONDITIONS[name](word) >> field & 1 for name in row.writes if name in _CONDITIONS)


def _recorded(word: int) -> int:
    """What a record form writes: CR6 for vectors, with the record bit in bit 21, or CR1, or CR0."""
    primary = word >> 26
    if primary in (4, 60):
        return (word >> 10 & 1) << 6
    return (word & 1) << (1 if primary in (59, 63) else 0)


def _moved_fields(word: int) -> int:
    """What mtcrf and mtocrf write; of more than one field the latter leaves all undefined."""
    fields = [field for field in range(8) if word >> 19 - field & 1]
    if word >> 20 & 1 and len(fields) != 1:
        return _ALL_FIELDS
    return sum(1 << field for field in fields)


_CONDITIONS: dict[str, Callable[[int], int]] = {
    "BF": lambda word: 1 << (word >> 23 & 7),
    "BT": lambda word: 1 << (word >> 23 & 7),
    "FXM": _moved_fields,
    "CR0": lambda _: 1 << 0,
    "CR6": lambda _: 1 << 6,
    "Rc": _recorded,
    "LK": lambda word: _ALL_FIELDS if is_call(word) else 0,
    "SC": lambda _: _ALL_FIELDS,
    "EVERYTHING": lambda _: _ALL_FIELDS,
}
"""The condition register fields behind each name of the table, as a set of bits."""


class Comparison(Record):
    """A comparison of ``register`` with ``number``, whose result goes to one field."""

    register: int
    number: int


def comparison(word: int) -> Comparison | None:
    """What the unprefixed instruction ``word`` compares with a constant, None if it doesn't."""
    row = find(word)
    if row is None or row.formula not in ("RA ? SI", "RA ? UI"):
        return None
    number = signed_field(word, 16) if row.formula == "RA ? SI" else word & 0xFFFF
    return Comparison(word >> _RA & 31, number)


# -- what is computed ------------------------------------------------------------------------------


def operation(word: int) -> Operation:
    """What the unprefixed instruction ``word`` computes, if it is one that addresses are made of.

    The target is the general register, `CTR` or `LR` that it writes, -1 where it writes none or
    isn't known.
    """
    row = find(word)
    if row is None or row.store:
        return _OPAQUE
    if "MEM(" in row.formula:
        return _load(row.formula, word) if row.writes in _LOADS else _OPAQUE
    compute = _COMPUTED.get(row.formula)
    return _OPAQUE if compute is None else compute(word)


_LOADS = (("RT",), ("RT", "RA"))
"""What a load of one general register writes; with update RT and RA are two of them."""


def _base(word: int) -> int:
    """RA0: the register in field RA, -1 for the number 0."""
    return word >> _RA & 31 or -1


def _add_immediate(word: int) -> Operation:
    return Operation("add", word >> _RT & 31, _base(word), -1, signed_field(word, 16))


def _add_immediate_shifted(word: int) -> Operation:
    return Operation("add", word >> _RT & 31, _base(word), -1, signed_field(word, 16) << 16)


def _add(word: int) -> Operation:
    return Operation("add", word >> _RT & 31, word >> _RA & 31, word >> _RB & 31)


def _subtract(word: int) -> Operation:
    return Operation("subtract", word >> _RT & 31, word >> _RB & 31, word >> _RA & 31)


def _multiply_immediate(word: int) -> Operation:
    return Operation("multiply", word >> _RT & 31, word >> _RA & 31, -1, signed_field(word, 16))


def _select(word: int) -> Operation:
    return Operation("select", word >> _RT & 31, _base(word), word >> _RB & 31)


def _or_immediate(word: int) -> Operation:
    return _OPAQUE if word & 0xFFFF else Operation("copy", word >> _RA & 31, word >> _RT & 31)


def _or(word: int) -> Operation:
    source = word >> _RT & 31
    return Operation("copy", word >> _RA & 31, source) if source == word >> _RB & 31 else _OPAQUE


def _and_immediate(word: int) -> Operation:
    return Operation("scale", word >> _RA & 31, word >> _RT & 31, limit=word & 0xFFFF)


def _extend(bits: int) -> Callable[[int], Operation]:
    return lambda word: Operation(
        "extend", word >> _RA & 31, word >> _RT & 31, size=bits, signed=True
    )


def _long_shift(word: int) -> int:
    """SH of the 64-bit shifts and rotates, whose highest bit stands apart."""
    return word >> 11 & 31 | (word & 2) << 4


def _long_edge(word: int) -> int:
    """MB or ME of the 64-bit rotates, whose highest bit is the lowest of the field."""
    return word >> 6 & 31 | word & 32


def _extend_and_shift(word: int) -> Operation:
    return Operation("scale", word >> _RA & 31, word >> _RT & 31, -1, _long_shift(word))


def _rotate_and_clear_left(word: int) -> Operation:
    """A 64-bit rotate that keeps the low end (rldicl): extension, mask or field from the middle."""
    source, target = word >> _RT & 31, word >> _RA & 31
    shift, begin = _long_shift(word), _long_edge(word)
    if shift == 0 and begin in (32, 48, 56):
        return Operation("extend", target, source, size=64 - begin)
    if shift and not begin:
        return _OPAQUE
    # Of a field from the middle only the bound is known.
    return Operation("scale", target, -1 if shift else source, limit=(1 << 64 - begin) - 1)


def _rotate_and_clear_right(word: int) -> Operation:
    """A 64-bit rotate that keeps the high end (rldicr), where it is a shift to the left."""
    shift = _long_shift(word)
    if _long_edge(word) != 63 - shift:
        return _OPAQUE
    return Operation("scale", word >> _RA & 31, word >> _RT & 31, -1, shift)


def _rotate_and_clear(word: int) -> Operation:
    """A mask, and then a shift to the left (rldic)."""
    shift = _long_shift(word)
    bits = 64 - _long_edge(word) - shift
    limit = (1 << bits) - 1 << shift if 0 < bits < 32 else -1
    return Operation("scale", word >> _RA & 31, word >> _RT & 31, -1, shift, limit=limit)


def _rotate_word(word: int) -> Operation:
    """A 32-bit rotate without wrap-around (rlwinm): extension, mask, or mask and left shift."""
    source, target = word >> _RT & 31, word >> _RA & 31
    shift, begin, end = word >> 11 & 31, word >> 6 & 31, word >> 1 & 31
    if begin > end:
        return _OPAQUE
    limit = (1 << 32 - begin) - (1 << 31 - end)
    if shift == 0 and end == 31 and begin in (16, 24):
        return Operation("extend", target, source, size=32 - begin)
    if end == 31 - shift:
        return Operation("scale", target, source, -1, shift, limit=limit)
    return Operation("scale", target, -1, limit=limit)


def _to_special(word: int) -> Operation:
    special = _special(word)
    return _OPAQUE if special < 0 else Operation("copy", special, word >> _RT & 31)


def _from_special(word: int) -> Operation:
    special = _special(word)
    return _OPAQUE if special < 0 else Operation("copy", word >> _RT & 31, special)


_COMPUTED: dict[str, Callable[[int], Operation]] = {
    "RA0 + SI": _add_immediate,
    "RA0 + (SI << 16)": _add_immediate_shifted,
    "RA + RB": _add,
    "RB - RA": _subtract,
    "RA * SI": _multiply_immediate,
    "CR(BC) ? RA0 : RB": _select,
    "RS | UI": _or_immediate,
    "RS | RB": _or,
    "RS & UI": _and_immediate,
    "EXTS(RS, 8)": _extend(8),
    "EXTS(RS, 16)": _extend(16),
    "EXTS(RS, 32)": _extend(32),
    "EXTS(RS, 32) << SH": _extend_and_shift,
    "ROTL64(RS, SH) & MASK(MB, 63)": _rotate_and_clear_left,
    "ROTL64(RS, SH) & MASK(0, ME)": _rotate_and_clear_right,
    "ROTL64(RS, SH) & MASK(MB, 63-SH)": _rotate_and_clear,
    "ROTL32(RS, SH) & MASK(MB, ME)": _rotate_word,
    "RS": _to_special,
    "SPR": _from_special,
}
"""What an instruction computes, by its formula in the table; loads are the rest."""


# -- memory ----------------------------------------------------------------------------------------


class Store(Record):
    """What an instruction stores: at most ``size`` bytes at ``base`` + ``displacement``.

    ``other`` is the index register of an indexed form, -1 otherwise; ``base`` -1 stands for the
    number 0.  ``source`` is the general register that is stored whole or in part, -1 where it's
    another kind of register or several.
    """

    base: int
    other: int
    displacement: int
    size: int
    source: int


_DISPLACEMENTS: dict[str, Callable[[int], int]] = {
    "D": lambda word: signed_field(word, 16),
    "DS": lambda word: signed_field(word & ~3, 16),
    "DQ": lambda word: signed_field(word & ~15, 16),
    # hashst: a negative number of doublewords, whose lowest bits are where RT is elsewhere.
    "DX": lambda word: ((word & 1) << 5 | word >> _RT & 31) - 64 << 3,
}


def _address(text: str, word: int) -> tuple[int, int, int, int]:
    """Base, index and displacement, and the size, of what stands inside of a MEM."""
    address, _, size = text.partition(", ")
    register, _, offset = address.partition(" + ")
    base = word >> _RA & 31
    if register == "RA0":
        base = base or -1
    if offset == "RB":
        return base, word >> _RB & 31, 0, int(size)
    displacement = _DISPLACEMENTS[offset](word) if offset else 0
    return base, -1, displacement, int(size)


def _load(formula: str, word: int) -> Operation:
    """What a load computes; its formula is a MEM, or the EXTS of one."""
    inside = formula.partition("MEM(")[2].rstrip(")")
    base, index, displacement, size = _address(inside, word)
    if base < 0:
        base, index = index, -1
    signed = formula.startswith("EXTS")
    return Operation("load", word >> _RT & 31, base, index, displacement, size, signed)


def store(word: int) -> Store | None:
    """What the unprefixed instruction ``word`` stores, None if it's no store."""
    row = find(word)
    if row is None or not row.store:
        return None
    source = word >> _RT & 31 if row.formula == "RS" else -1
    return Store(*_address(row.store, word), source)


def addressed(word: int) -> tuple[int, int, int] | None:
    """Base, index and displacement of the address that ``word`` loads from or stores to.

    The base is -1 for the number 0, the index -1 where there is none; None for what does neither.
    """
    row = find(word)
    if row is None or not (row.store or "MEM(" in row.formula):
        return None
    inside = row.store or row.formula.partition("MEM(")[2].rstrip(")")
    return _address(inside, word)[:3]


def updated(word: int) -> Operation | None:
    """The sum that a load or a store with update leaves in its base register; None for others."""
    row = find(word)
    if row is None or "RA" not in row.writes:
        return None
    address = addressed(word)
    return None if address is None else Operation("add", word >> _RA & 31, *address)


def prefixed_store_base(prefix: int, suffix: int) -> int:
    """The base register of a prefixed store, -1 where it's none or has no base register."""
    row = find_prefixed(prefix, suffix)
    return -1 if row is None or not row.store else _base(suffix)


def makes_address(word: int, base: int) -> bool:
    """Whether ``word`` computes an address from ``base`` and keeps it in another register than r1.

    Copies, sums, differences and one of two count; whatever else is done with a register makes no
    address of what it points to.
    """
    row = find(word)
    if row is None or row.formula not in _ADDRESSES:
        return False
    others = _GENERAL & ~(1 << base | 1 << 1)
    return bool(read(word) >> base & 1 and _written(row, word) & others)


_ADDRESSES = {
    *("RA + SI", "RA0 + SI", "RA0 + (SI << 16)", "RS | RB", "RA + RB", "RB - RA"),
    "CR(BC) ? RA0 : RB",
}
"""Formulas of copies, sums and differences, and of one of two."""
