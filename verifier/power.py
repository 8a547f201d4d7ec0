"""PowerPC instruction words, as far as pairing needs them.

Branches are decoded by capstone, which knows the displacement and the mnemonic; the fields that
must not change (BO, BI, AA, LK) are taken from the word itself (Power ISA 3.1, Book I, 2.4 and
"B-form", "I-form"). capstone 5 can't decode prefixed (8-byte) instructions, hashst, brh, setbc,
mtvsrbm and other ISA 3.1 additions: nothing here depends on it for those, they are compared as
opaque words.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import capstone

NOP = 0x60000000
"""`ori 0,0,0`"""
GROUP_ENDING_NOPS = (0x60210000, 0x60420000)
"""`ori 1,1,0` and `ori 2,2,0`: gas ends a run of padding with one, on power6 and on power7."""
RESTORE_TOC = 0xE8410018
"""`ld r2,24(r1)`"""
SLOTS = (NOP, RESTORE_TOC, 0x4DEF7B82, 0x4FFFFB82)
"""What the linker takes for a slot: nop, a finished restore, cror 15,15,15, cror 31,31,31."""
BCTR = 0x4E800420

I_FORM, B_FORM, PREFIX = 18, 16, 1

EXEMPT = frozenset({"_mcount", "ftrace_caller", "ftrace_regs_caller"})
"""Callees that the kernel's loader handles itself: -mprofile-kernel and ftrace."""
EXEMPT_PREFIXES = (
    "_savegpr0_",
    "_savegpr1_",
    "_restgpr0_",
    "_restgpr1_",
    "_savefpr_",
    "_restfpr_",
    "_savevr_",
    "_restvr_",
)
"""Out-of-line register savers (64-bit ELF ABI, 3.2.x "Register Saving and Restoring")."""


def opcode(word: int) -> int:
    """Primary opcode, bits 0 to 5."""
    return word >> 26


def is_relative_branch(word: int) -> bool:
    """True for b, bl, bc, bcl with AA = 0."""
    return word >> 26 in (I_FORM, B_FORM) and not word & 2


def is_call(word: int) -> bool:
    """True for `bl`."""
    return word & 0xFC000003 == 0x48000001


def shape(word: int) -> int:
    """The word with the displacement of a PC-relative branch cleared; other words unchanged."""
    if word & 2:
        return word
    if word >> 26 == I_FORM:
        return word & 0xFC000003
    if word >> 26 == B_FORM:
        return word & 0xFFFF0003
    return word


@functools.cache
def _disassembler() -> capstone.Cs:
    # Imported here so that whoever lacks it can be told in one line.
    import capstone

    return capstone.Cs(capstone.CS_ARCH_PPC, capstone.CS_MODE_64 + capstone.CS_MODE_LITTLE_ENDIAN)


@functools.lru_cache(maxsize=65536)
def displacement(word: int) -> int:
    """Displacement in bytes of a PC-relative branch, as capstone decodes it."""
    base = 1 << 40
    for _, _, _, operands in _disassembler().disasm_lite(word.to_bytes(4, "little"), base):
        target = operands.rsplit(" ", 1)[-1]
        if target.startswith("0x"):
            return int(target, 16) - base
    # capstone prints no target for a few reserved BO encodings; the field is in the same bits.
    if word >> 26 == I_FORM:
        return ((word & 0x03FFFFFC) ^ 0x02000000) - 0x02000000
    return ((word & 0xFFFC) ^ 0x8000) - 0x8000


def disassemble(word: int, place: int = 0) -> str:
    """Text for messages: mnemonic and operands, or `.long`."""
    for _, _, mnemonic, operands in _disassembler().disasm_lite(word.to_bytes(4, "little"), place):
        return f"{mnemonic} {operands}".strip()
    return f".long {word:#010x}"


def inverted(word: int) -> int | None:
    """The `bc` that branches exactly when `word` does not; None where there is none.

    Power ISA 3.1 Book I, figure 40 "BO field encodings", bit 0 of BO being 0x10:
    001at / 011at test CR only: bit 0x08 is the sense, at the hint (a set: t predicts).
    1a00t / 1a01t test CTR only: bit 0x02 is the sense, a is 0x08, t is 0x01.
    The forms that test both have no inverse; 1z1zz always branches.
    A hint given (a = 1) predicts the opposite for the inverse: t is flipped.
    """
    options = word >> 21 & 31
    if options & 0x14 == 0x04:
        flip, hinted = 0x08, options & 0x02
    elif options & 0x14 == 0x10:
        flip, hinted = 0x02, options & 0x08
    else:
        return None
    options ^= flip | (0x01 if hinted else 0)
    return word & ~(31 << 21) | options << 21


def is_padding(word: int) -> bool:
    """True for the words that gas fills padding in code with (the branch over it excepted)."""
    return word == NOP or word in GROUP_ENDING_NOPS


def crosses_64_bytes(offset: int) -> bool:
    """True when an 8-byte instruction at this offset would cross a 64-byte boundary."""
    return offset % 64 == 60


def is_exempt(callee: str) -> bool:
    """True for callees after whose call no slot may be put."""
    return callee in EXEMPT or callee.startswith(EXEMPT_PREFIXES)
