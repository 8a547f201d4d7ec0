"""What an instruction does to the registers that a jump can depend on.

The problem: to show where a ``bctr`` goes, the value of CTR is followed backwards through the code,
so of every instruction on the way two things must be known: which registers it may write, and, for
the few that compute addresses, what it computes.

The rule: `written` errs on the side of too much.  It is a table by primary and extended opcode that
says which operand field names the destination; a word that isn't in the table is taken to write
both fields that could be one, and a word that can't be an instruction is taken to write everything.
`operation` knows only what compilers put between a table's address and the jump; everything else
is opaque.

Calls: of the registers that a call may change, only r3 and r4 come back with a meaning (64-bit
ELFv2 ABI, 2.2.3.3).  A correct program reads any other volatile register behind a call only where
the compiler knows that this callee leaves it alone (-fipa-ra), so a call writes r3 and r4 here and
the rest keeps its value.

Source: Power ISA 3.1, Book I, chapters 2 to 7, and appendix on opcode maps.  Fields are named as
there: RT (or RS) are bits 6:10, RA bits 11:15, RB bits 16:20.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

CTR = 32
LR = 33
"""Two special registers that jumps go through, numbered behind the 32 general ones."""

EVERYTHING = (1 << 34) - 1
CALL_RESULTS = 1 << 3 | 1 << 4 | 1 << LR
"""What a call leaves changed, in the sense of this module's essay."""

Kind = Literal["copy", "add", "extend", "scale", "load", "opaque"]


class Operation(NamedTuple):
    """What an instruction computes into ``target``.

    ``kind`` and what goes with it:

    - ``copy``: ``source``
    - ``add``: ``source`` + ``other`` (registers), or ``source`` + ``immediate`` with other -1;
      source -1 stands for the number 0
    - ``extend``: the low ``size`` bits of ``source``, sign-extended if ``signed``
    - ``scale``: ``source`` shifted left by ``immediate`` bits, at most ``limit`` (-1: unknown)
    - ``load``: ``size`` bytes at ``source`` + ``other`` or ``source`` + ``immediate``,
      sign-extended if ``signed``
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


_RT, _RA, _BOTH = 1, 2, 3

# Which field names the general register that is written, by primary opcode.  0: none.
_BY_PRIMARY = {
    **dict.fromkeys((2, 3, 6, 10, 11, 16, 36, 38, 44, 48, 50, 52, 54, 57, 59, 61, 63), 0),
    **dict.fromkeys((7, 8, 12, 13, 14, 15, 32, 34, 40, 42), _RT),
    **dict.fromkeys((20, 21, 23, 24, 25, 26, 27, 28, 29, 30), _RA),
    **dict.fromkeys((33, 35, 41, 43), _BOTH),  # loads with update
    **dict.fromkeys((37, 39, 45, 49, 51, 53, 55), _RA),  # stores and FP loads with update
    47: 0,  # stmw
}

# Primary opcode 4: vector instructions whose result is a general register, by the low 11 bits, and
# multiply-add by the low 6.
_VECTOR_TO_GENERAL = frozenset((1538, 1549, 1613, 1677, 1805, 1869, 1933, 1602, 1228))
_MULTIPLY_ADD = frozenset((48, 49, 51))

# Primary opcode 31, by the ten bits 21:30: where the result is, by kind of instruction.
_X_RA = frozenset(
    (24, 26, 27, 28, 58, 59, 60, 124, 284, 316, 412, 444, 476, 536, 538, 539, 570, 571)  # logical
    + (792, 794, 824, 826, 827, 890, 891, 922, 954, 986)  # algebraic shifts, extensions
    + (122, 154, 186, 252, 282, 314, 378, 506, 508)  # counting, parity, decimal, compare bytes
    + (155, 156, 187, 188, 219, 220)  # byte reverse, deposit, extract
    + (51, 115, 307)  # moves from vector registers
    + (181, 183, 247, 439, 567, 631, 695, 759)  # stores and FP loads with update
)
_X_BOTH = frozenset((53, 55, 119, 311, 373, 375))  # loads with update
_X_NONE = frozenset(
    (0, 4, 32, 68, 192, 224)  # compares, traps
    + (144, 146, 178, 210, 242, 467, 512, 576)  # moves to special registers and to CR
    + (22, 30, 54, 86, 246, 278, 470, 598, 758, 774, 838, 854, 902, 982, 1014)  # caches, barriers
    + (142, 174, 206, 238, 886, 274, 306, 338, 370, 402, 434, 466, 498, 566)  # messages, TLB, SLB
    + (658, 690, 722, 754, 430)  # hashes, branch history
    + (149, 151, 215, 407, 660, 661, 662, 725, 918, 917, 949, 981, 1013)  # stores
    + (150, 182, 214, 694, 726, 710, 742)  # conditional and atomic stores
    + (535, 599, 663, 727, 791, 855, 887, 919, 983)  # floating-point loads and stores
    + (6, 7, 38, 39, 71, 103, 135, 167, 199, 231, 359, 487)  # vector loads and stores
    + (12, 13, 45, 76, 77, 109, 268, 269, 301, 332, 333, 364, 524, 588)  # VSX loads
    + (780, 781, 812, 813, 844, 876)
    + (140, 141, 173, 205, 237, 396, 397, 429, 461, 652, 716)  # VSX stores
    + (908, 909, 940, 941, 972, 1004)
    + (177, 179, 211, 243, 403, 435)  # moves to vector registers
    + (654, 686, 718, 750, 782, 814, 846, 878, 910, 942, 1006)  # transactions
)
_X_RT = frozenset(
    (19, 83, 128, 302, 339, 371, 384, 416, 448, 480, 595, 659, 755, 851, 915, 979)  # moves, sets
    + (20, 21, 23, 52, 84, 87, 116, 279, 341, 343, 532, 534, 582, 614, 790)  # loads
    + (789, 821, 853, 885)  # cache-inhibited loads
    + (265, 267, 777, 779)  # modulo
)
# Arithmetic (XO form) by the nine bits 22:30, with and without overflow.
_XO_RT = frozenset(
    (8, 9, 10, 11, 40, 73, 74, 75, 104, 136, 138, 200, 202, 232, 233, 234, 235, 266)
    + (393, 395, 425, 427, 457, 459, 489, 491)
)
_STRING_LOADS = frozenset((533, 597))


def is_call(word: int) -> bool:
    """Whether ``word`` calls: any branch with the link bit, but for those that only read the PC.

    ``bcl 20,31,.+4`` and ``bl .+4`` write LR and nothing else.
    """
    opcode = word >> 26
    if not word & 1:
        return False
    if opcode in (16, 18):
        return not reads_address(word)
    return opcode == 19 and word >> 1 & 0x3FF in (16, 528, 560)


def reads_address(word: int) -> bool:
    """Whether ``word`` only puts the address behind it into LR: ``bl .+4``, ``bcl 20,31,.+4``."""
    return word == 0x48000005 or (word >> 26 == 16 and word & 0xFFFF == 5)


def written(word: int) -> int:
    """The registers that ``word`` may write, as a set of bits: 0 to 31, `CTR` and `LR`.

    ``word`` is an unprefixed instruction, see `written_by_prefixed` for the others.
    """
    opcode = word >> 26
    fields = _BY_PRIMARY.get(opcode)
    if fields is None:
        fields = _fields_of(opcode, word)
        if fields > _BOTH:
            return fields >> 2
    if opcode == 16:
        return _written_by_branch(word)
    result = 0
    if fields & _RT:
        result = 1 << (word >> 21 & 31)
    if fields & _RA:
        result |= 1 << (word >> 16 & 31)
    return result


def _written_by_branch(word: int) -> int:
    options = word >> 21 & 31
    result = 0 if options & 0b00100 else 1 << CTR
    if word & 1:
        result |= CALL_RESULTS if is_call(word) else 1 << LR
    return result


def _fields_of(opcode: int, word: int) -> int:
    """The destination fields, or, shifted left by two, the registers themselves."""
    if opcode == 18:
        return (CALL_RESULTS if is_call(word) else (word & 1) << LR) << 2
    if opcode == 31:
        return _fields_of_31(word)
    if opcode in (58, 62):
        return _fields_of_ds(opcode, word & 3)
    if opcode == 19:
        return _fields_of_19(word)
    if opcode == 4:
        to_general = word & 0x7FF in _VECTOR_TO_GENERAL or word & 0x3F in _MULTIPLY_ADD
        return _RT if to_general else 0
    if opcode == 60:
        return _RT if word >> 2 & 0x1FF == 347 else 0  # xsxexpdp, xsxsigdp
    if opcode == 17:  # sc, scv: the kernel's calling convention
        return (0x1FF9 | 1 << CTR | 1 << LR) << 2
    if opcode == 46:  # lmw
        return (0xFFFFFFFF << (word >> 21 & 31) & 0xFFFFFFFF) << 2
    if opcode == 56:  # lq
        return (3 << (word >> 21 & 30)) << 2
    return EVERYTHING << 2


def _fields_of_ds(opcode: int, extended: int) -> int:
    if opcode == 58:  # ld, ldu, lwa
        return _BOTH if extended == 1 else _RT
    return _RA if extended == 1 else 0  # std, stdu, stq


def _fields_of_19(word: int) -> int:
    extended = word >> 1 & 0x3FF
    if extended & 31 == 2:  # addpcis
        return _RT
    if extended in (16, 528, 560):  # bclr, bcctr, bctar
        return _written_by_branch(word) << 2
    return 0


def _fields_of_31(word: int) -> int:
    extended = word >> 1 & 0x3FF
    if extended in _X_RT or extended & 0x1FF in _XO_RT or extended & 31 == 15:  # isel
        return _RT
    if extended in _X_RA:
        return _RA
    if extended in _X_NONE:
        if extended == 467:  # mtspr
            return _SPECIAL.get(word >> 11 & 0x3FF, 0) << 2
        return 0
    if extended in _X_BOTH:
        return _BOTH
    if extended in _STRING_LOADS:
        return 0xFFFFFFFF << 2
    if extended == 276:  # lqarx
        return (3 << (word >> 21 & 30)) << 2
    return _BOTH


# The SPR number's halves are swapped in the word.
_SPECIAL = {9 << 5: 1 << CTR, 8 << 5: 1 << LR}


def written_by_prefixed(prefix: int, suffix: int) -> int:
    """The general registers that a prefixed instruction may write, as a set of bits."""
    if prefix >> 24 & 3 == 1:
        return 0  # 8RR: vector instructions
    opcode = suffix >> 26
    register = suffix >> 21 & 31
    if opcode in (14, 32, 34, 40, 41, 42, 57):  # paddi, plwz, plbz, plhz, plwa, plha, pld
        return 1 << register
    if opcode == 56:  # plq
        return 3 << (register & 30)
    return 0


def operation(word: int) -> Operation:
    """What the unprefixed instruction ``word`` computes, if it is one that addresses are made of.

    The target is the general register, `CTR` or `LR` that it writes, -1 where it writes none or
    isn't known.
    """
    opcode = word >> 26
    rt, ra = word >> 21 & 31, word >> 16 & 31
    if opcode == 14 or opcode == 15:
        immediate = signed_field(word, 16) << (16 if opcode == 15 else 0)
        return Operation("add", rt, ra or -1, -1, immediate)
    if opcode == 24 and word & 0xFFFF == 0:
        return Operation("copy", ra, rt)
    if opcode in _LOADS:
        size, signed = _LOADS[opcode]
        return Operation("load", rt, ra or -1, -1, signed_field(word, 16), size, signed)
    if opcode == 58 and word & 3 != 1:
        size, signed = (4, True) if word & 2 else (8, False)
        return Operation("load", rt, ra or -1, -1, signed_field(word & ~3, 16), size, signed)
    if opcode == 31:
        return _operation_31(word, rt, ra)
    if opcode == 30:
        return _rotate_64(word, rt, ra)
    if opcode == 21:
        return _rotate_32(word, rt, ra)
    if opcode == 28:  # andi.
        return Operation("scale", ra, rt, -1, 0, limit=word & 0xFFFF)
    return Operation("opaque", -1)


_LOADS = {32: (4, False), 34: (1, False), 40: (2, False), 42: (2, True)}
_INDEXED_LOADS = {
    21: (8, False),
    23: (4, False),
    341: (4, True),
    87: (1, False),
    279: (2, False),
    343: (2, True),
}
_EXTENDS = {986: 32, 922: 16, 954: 8}


def signed_field(word: int, bits: int) -> int:
    """The low ``bits`` bits of ``word`` as a signed number."""
    value = word & (1 << bits) - 1
    return value - ((value & 1 << bits - 1) << 1)


def _operation_31(word: int, rt: int, ra: int) -> Operation:
    extended = word >> 1 & 0x3FF
    rb = word >> 11 & 31
    if extended == 266:
        return Operation("add", rt, ra, rb)
    if extended == 444 and rt == rb:
        return Operation("copy", ra, rt)
    if extended in _INDEXED_LOADS:
        size, signed = _INDEXED_LOADS[extended]
        if not ra:
            return Operation("load", rt, rb, -1, 0, size, signed)
        return Operation("load", rt, ra, rb, 0, size, signed)
    if extended in _EXTENDS:
        return Operation("extend", ra, rt, size=_EXTENDS[extended], signed=True)
    if extended in (890, 891):  # extswsli
        return Operation("scale", ra, rt, -1, rb | (word & 2) << 4)
    if extended == 467 and word >> 11 & 0x3FF in _SPECIAL:
        return Operation("copy", CTR if word >> 16 & 31 == 9 else LR, rt)
    if extended == 339 and word >> 11 & 0x3FF in _SPECIAL:
        return Operation("copy", rt, CTR if word >> 16 & 31 == 9 else LR)
    return Operation("opaque", -1)


def _rotate_64(word: int, rs: int, ra: int) -> Operation:
    """The 64-bit rotates, where they are shifts, extensions or a mask and a shift."""
    kind = word >> 2 & 7
    shift = word >> 11 & 31 | (word & 2) << 4
    edge = word >> 6 & 31 | word & 32
    if kind == 0 and shift == 0:  # clrldi
        if edge in (32, 48, 56):
            return Operation("extend", ra, rs, size=64 - edge)
        return Operation("scale", ra, rs, limit=(1 << 64 - edge) - 1)
    if kind == 1 and edge == 63 - shift:  # sldi
        return Operation("scale", ra, rs, -1, shift)
    if kind == 2:  # clrlsldi: mask, then shift
        bits = 64 - edge - shift
        limit = (1 << bits) - 1 << shift if 0 < bits < 32 else -1
        return Operation("scale", ra, rs, -1, shift, limit=limit)
    if kind == 0 and edge:  # a field from the middle: bounded, nothing else known
        return Operation("scale", ra, -1, limit=(1 << 64 - edge) - 1)
    return Operation("opaque", -1)


def _rotate_32(word: int, rs: int, ra: int) -> Operation:
    """A 32-bit rotate without wrap-around: a mask, or a mask and a shift."""
    shift, first, last = word >> 11 & 31, word >> 6 & 31, word >> 1 & 31
    if first > last:
        return Operation("opaque", -1)
    if shift == 0 and last == 31:
        if first in (16, 24):
            return Operation("extend", ra, rs, size=32 - first)
        return Operation("scale", ra, rs, limit=(1 << 32 - first) - 1)
    limit = (1 << 32 - first) - (1 << 31 - last)
    if last == 31 - shift:
        return Operation("scale", ra, rs, -1, shift, limit=limit)
    return Operation("scale", ra, -1, limit=limit)


class Store(NamedTuple):
    """What an instruction stores: ``size`` bytes at ``base`` + ``displacement``.

    ``other`` is the index register of an indexed form, -1 otherwise; ``base`` -1 stands for the
    number 0.  ``source`` is the general register that is stored whole or in part, -1 where it's
    another kind of register or several.
    """

    base: int
    other: int
    displacement: int
    size: int
    source: int


# Stores with a displacement, by primary opcode: size in bytes, and whether a general register is
# stored.  stmw stores up to 32 words.
_STORES = {
    **dict.fromkeys((36, 37), (4, True)),  # stw, stwu
    **dict.fromkeys((38, 39), (1, True)),  # stb, stbu
    **dict.fromkeys((44, 45), (2, True)),  # sth, sthu
    47: (128, False),  # stmw
    **dict.fromkeys((52, 53), (4, False)),  # stfs, stfsu
    **dict.fromkeys((54, 55), (8, False)),  # stfd, stfdu
}
# Those whose form the low bits tell: opcode, mask, bits: bits that aren't displacement, size.
_FORMED_STORES = (
    (62, 3, 0, 8, True),  # std
    (62, 3, 1, 8, True),  # stdu
    (62, 3, 2, 16, False),  # stq
    (61, 3, 0, 16, False),  # stfdp
    (61, 3, 2, 8, False),  # stxsd
    (61, 3, 3, 4, False),  # stxssp
    (61, 7, 5, 16, False),  # stxv
    (6, 15, 1, 32, False),  # stxvp
)
# Indexed stores, by the ten bits 21:30: of general registers, with their sizes, and of all others.
# Their longest are 32 bytes; dcbz clears a cache block.
_INDEXED_STORES = {149: 8, 181: 8, 151: 4, 183: 4, 215: 1, 247: 1, 407: 2, 439: 2}
_OTHER_INDEXED_STORES = frozenset(
    (660, 661, 662, 725, 918, 917, 949, 981, 1013)  # byte-reversed, strings, cache-inhibited
    + (150, 182, 214, 694, 726, 710, 742)  # conditional and atomic
    + (663, 695, 727, 759, 919, 983)  # floating-point
    + (135, 167, 199, 231, 487)  # vector
    + (140, 141, 173, 205, 237, 396, 397, 429, 461, 652, 716, 908, 909, 940, 941, 972, 1004)  # VSX
    + (1014, 758)  # dcbz, dcba
)
_LONGEST_INDEXED = 128


def store(word: int) -> Store | None:
    """What the unprefixed instruction ``word`` stores, None if it's no store."""
    opcode = word >> 26
    rs, ra = word >> 21 & 31, word >> 16 & 31
    if opcode in _STORES:
        size, is_general = _STORES[opcode]
        return Store(ra or -1, -1, signed_field(word, 16), size, rs if is_general else -1)
    if opcode in (6, 61, 62):
        for primary, mask, bits, size, is_general in _FORMED_STORES:
            if opcode == primary and word & mask == bits:
                displacement = signed_field(word & ~(mask if mask != 7 else 15), 16)
                return Store(ra or -1, -1, displacement, size, rs if is_general else -1)
    if opcode == 31:
        extended = word >> 1 & 0x3FF
        rb = word >> 11 & 31
        if extended in _INDEXED_STORES:
            return Store(ra or -1, rb, 0, _INDEXED_STORES[extended], rs)
        if extended in _OTHER_INDEXED_STORES:
            return Store(ra or -1, rb, 0, _LONGEST_INDEXED, -1)
    return None


_PREFIXED_LOADS = frozenset((14, 32, 34, 40, 41, 42, 43, 48, 50, 51, 56, 57, 58))
"""paddi, plwz, plbz, plhz, plwa, plha, plxsd, plxssp, plfs, plfd, plxv, plq, pld, plxvp."""


def prefixed_store_base(prefix: int, suffix: int) -> int:
    """The base register of a prefixed store, -1 where it's none or has no base register."""
    if prefix >> 24 & 3 in (1, 3) or suffix >> 26 in _PREFIXED_LOADS:
        return -1
    return suffix >> 16 & 31 or -1


def makes_address(word: int, base: int) -> bool:
    """Whether ``word`` computes an address from ``base`` and keeps it in another register than r1.

    Copies, sums and differences count; whatever else is done with a register makes no address of
    what it points to.
    """
    opcode = word >> 26
    rt, ra, rb = word >> 21 & 31, word >> 16 & 31, word >> 11 & 31
    if opcode in (12, 13, 14, 15):
        return ra == base and rt not in (base, 1)
    if opcode == 31:
        extended = word >> 1 & 0x3FF
        if extended == 444:
            return base in (rt, rb) and ra not in (base, 1)
        return extended & 0x1FF in (266, 40) and base in (ra, rb) and rt not in (base, 1)
    return False


def may_write_condition(word: int, field: int) -> bool:
    """Whether ``word`` may write condition register field ``field`` (0 to 7).

    Compare instructions write the field that they name; record forms write CR0, CR1 or CR6.
    """
    opcode = word >> 26
    if opcode in (10, 11):
        return word >> 23 & 7 == field
    if opcode in (13, 28, 29):  # addic., andi., andis.
        return field == 0
    if opcode in (20, 21, 23, 30):
        return bool(word & 1) and field == 0
    if opcode == 31:
        if word >> 1 & 0x3FF in (0, 32):
            return word >> 23 & 7 == field
        if word >> 1 & 0x3FF in (128, 192, 224, 384, 416, 448, 480, 144, 512, 576):
            return True
        return bool(word & 1) and field == 0
    if opcode in _BY_PRIMARY and opcode not in (59, 63):
        return False
    return opcode not in (58, 62)
