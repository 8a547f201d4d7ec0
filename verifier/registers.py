"""Which general registers an instruction writes; in doubt more of them than it does.

Power ISA 3.1, Book I, chapter 3 (fixed-point), and the forms of appendix D: the result is in RT
(bits 6 to 10) or, for rotates and logical operations, in RA (bits 11 to 15). Forms "with update"
write RA as well. Floating-point and vector instructions write none, but for those that move to one
or store with update. lmw and the string instructions don't exist in little-endian mode.
"""

from __future__ import annotations

from nopfix.verifier import power

_RT = frozenset({4, 7, 8, 12, 13, 14, 15, 32, 34, 40, 42, 57})
"""Primary opcodes that write RT: mulli to addis, loads, maddld, the suffix of pld."""
_RA = frozenset({20, 21, 23, *range(24, 31), 37, 39, 45, 49, 51, 53, 55})
"""Those that write RA: rotates, logical operations, stores and floating loads with update."""
_BOTH = frozenset({33, 35, 41, 43})
"""Loads with update; 41 is the suffix of plwa too, which writes RT alone."""

_NONE_31 = frozenset(
    {
        *(0, 4, 32, 68, 192, 224),  # compares, traps
        *(149, 150, 151, 214, 215, 407, 660, 662, 663, 694, 726, 727, 918, 983),  # stores
        *(535, 599, 855, 887, 7, 39, 71, 103, 359, 135, 167, 199, 231, 487),  # lfsx to stvxl
        *(467, 144, 54, 86, 246, 278, 598, 854, 982, 1014),  # mtspr, mtcrf, caches, sync
    }
)
_RT_31 = frozenset(
    {
        *(266, 778, 10, 138, 202, 234, 40, 8, 136, 200, 232, 104),  # add, subf, neg and their kin
        *(235, 233, 75, 73, 11, 9, 457, 459, 489, 491, 265, 267, 777, 779),  # mul, div, mod
        *(21, 23, 87, 279, 341, 343, 790, 532, 534, 339, 19),  # loads, mfspr, mfcr
    }
)
_RA_31 = frozenset(
    {
        *(28, 60, 444, 412, 316, 476, 124, 284, 954, 922, 986),  # logical operations, extensions
        *(24, 26, 27, 58, 536, 538, 539, 570, 792, 794, 824, 826, 827, 890, 891),  # shifts, counts
        *(181, 183, 247, 439, 567, 631, 695, 759),  # loads and stores with update that write RA
    }
)
"""Extended opcodes of 31 that write no general register, RT, or RA alone; others may write both."""
_ISEL = 15
_PAIR_31 = 276
"""lqarx"""

_BRANCHES_19 = frozenset({16, 528, 560})
"""bclr, bcctr, bctar"""

NONVOLATILE = frozenset(range(14, 32))
"""Registers that a function has to restore (ELFv2 ABI, 2.2.2.1)."""


def written(word: int) -> frozenset[int]:
    """The general registers that an instruction, or the suffix of a prefixed one, may write."""
    opcode, rt, ra = word >> 26, word >> 21 & 31, word >> 16 & 31
    if opcode in _RT:
        return frozenset((rt,))
    if opcode in _RA:
        return frozenset((ra,))
    if opcode in _BOTH:
        return frozenset((rt, ra))
    if opcode == 31:
        return _written_31(word, rt, ra)
    if opcode == 58:
        return frozenset((rt, ra)) if word & 3 == 1 else frozenset((rt,))
    if opcode == 62 and word & 3 == 1:
        return frozenset((ra,))
    if opcode == 56:
        return frozenset((rt, rt | 1))
    return frozenset((rt,)) if opcode == 19 and word >> 1 & 31 == 2 else frozenset()


def _written_31(word: int, rt: int, ra: int) -> frozenset[int]:
    extended = word >> 1 & 0x3FF
    if extended in _NONE_31:
        return frozenset()
    if extended in _RT_31 or extended & 31 == _ISEL:
        return frozenset((rt,))
    if extended in _RA_31:
        return frozenset((ra,))
    return frozenset((rt, ra, rt | 1) if extended == _PAIR_31 else (rt, ra))


def is_call(word: int) -> bool:
    """Whether a branch links, so that what it goes to may change volatile registers."""
    if word in (power.BCL_NEXT, power.BL_NEXT):
        return False
    if word >> 26 in (power.I_FORM, power.B_FORM):
        return bool(word & 1)
    return word >> 26 == 19 and word & 1 == 1 and word >> 1 & 0x3FF in _BRANCHES_19


def goes_on(word: int) -> bool:
    """Whether the instruction behind may be executed next.

    It isn't behind a trap, nor behind a word of zeros, which is no instruction (Power ISA 3.1,
    Book I, 1.8.2 "Illegal Instruction Class").
    """
    if word >> 26 == power.I_FORM:
        return bool(word & 1)
    if word >> 26 == power.B_FORM or (word >> 26 == 19 and word >> 1 & 0x3FF in _BRANCHES_19):
        always = word >> 21 & 0x14 == 0x14
        return bool(word & 1) or not always
    return word not in (power.TRAP, 0)
