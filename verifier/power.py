"""PowerPC instruction words, as far as pairing needs them.

Branches are I-form and B-form (Power ISA 3.1, Book I, 1.6.1 and 2.4): a displacement of 24 or 14
bits in words, AA and LK below it, BO and BI above. Everything else is a word that is equal or
isn't. capstone, where there is one, disassembles words for messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

NOP = 0x60000000
"""`ori 0,0,0`"""
GROUP_ENDING_NOPS = (0x60210000, 0x60420000)
"""`ori 1,1,0` and `ori 2,2,0`: gas ends a run of padding with one, on power6 and on power7."""
PADDING = frozenset({NOP, *GROUP_ENDING_NOPS})
"""What gas fills padding in code with, the branch over it excepted."""
RESTORE_TOC = 0xE8410018
"""`ld r2,24(r1)`"""
SLOTS = (NOP, RESTORE_TOC, 0x4DEF7B82, 0x4FFFFB82)
"""What the linker takes for a slot: nop, a finished restore, cror 15,15,15, cror 31,31,31."""
BCTR = 0x4E800420
BCCTR, BCCTR_MASK = 0x4C000420, 0xFC00FFFF
"""`bcctr` with any condition, without link: `bctr`, and `beqctr-` where speculation is off."""
BCL_NEXT = 0x429F0005
"""`bcl 20,31,$+4`, which reads the program counter."""
BL_NEXT = 0x48000005
"""`bl .+4`, which does so as well."""
MFLR, MFLR_MASK = 0x7C0802A6, 0xFC1FFFFF
"""`mflr` of any register."""
MTLR, STD_LR_SAVE = 0x7C0803A6, 0xF8010010
"""`mtlr r0` and `std r0,16(r1)`, where a function keeps LR (ELFv2 ABI, 2.2.2.1)."""
B_SELF = 0x48000000
"""`b .`"""

TRAP = 0x7FE00008
"""`trap`: what LLVM's linker fills with between input sections of code (LLVM,
lld/ELF/Arch/PPC64.cpp, `trapInstr`)."""

VECTOR = 16
"""Bytes of a vector, and what its address is a multiple of where low bits of it don't count."""

I_FORM, B_FORM, PREFIX = 18, 16, 1

_NUMBERS = frozenset({7, 8, *range(10, 16), *range(24, 30), *range(32, 56), 58, 62})
"""Primary opcodes of D-form and DS-form, which end in a number."""


def named(word: int) -> set[int]:
    """The registers that an instruction may name; in doubt more of them."""
    found = {word >> 21 & 31, word >> 16 & 31}
    if word & MFLR_MASK == MFLR:
        return {word >> 21 & 31}
    if word >> 26 not in _NUMBERS:
        found.add(word >> 11 & 31)
    elif not word >> 16 & 31 and word >> 26 not in range(24, 30):
        found = {word >> 21 & 31}
    return found


MORESTACK = frozenset({"__morestack", "__morestack_non_split"})
EXEMPT = MORESTACK | {"_mcount", "ftrace_caller", "ftrace_regs_caller"}
"""Callees behind whose call nothing may be put. `_mcount` and ftrace's are the kernel loader's own
business (Linux, arch/powerpc/kernel/module_64.c, is_mprofile_ftrace_call). `__morestack` goes on
three instructions behind its return address, where the function's body is (GCC,
libgcc/config/rs6000/morestack.S); the linker puts `__morestack_non_split` in its place."""
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
"""Out-of-line register savers (ELFv2 ABI, 2.3.3 "Register Save and Restore Functions")."""


def opcode(word: int) -> int:
    """Primary opcode, bits 0 to 5."""
    return word >> 26


def is_relative_branch(word: int) -> bool:
    """True for b, bl, bc, bcl with AA = 0."""
    return word >> 26 in (I_FORM, B_FORM) and not word & 2


def is_call(word: int) -> bool:
    """True for `bl`."""
    return word & 0xFC000003 == 0x48000001


def shapes(words: Sequence[int]) -> list[int]:
    """The words with the displacements of PC-relative branches cleared."""
    return [
        (w & 0xFC000003 if w & 0x08000000 else w & 0xFFFF0003)
        if w & 0xF4000002 == 0x40000000
        else w
        for w in words
    ]


def branches(words: Sequence[int]) -> list[int]:
    """Indices of all words that are a PC-relative branch, or look like one."""
    return [i for i, w in enumerate(words) if w & 0xFC000002 in (0x48000000, 0x40000000)]


def displacement(word: int) -> int:
    """Displacement in bytes of a PC-relative branch: LI of I-form, BD of B-form."""
    if word >> 26 == I_FORM:
        return ((word & 0x03FFFFFC) ^ 0x02000000) - 0x02000000
    return ((word & 0xFFFC) ^ 0x8000) - 0x8000


def is_pc_relative(prefix: int) -> bool:
    """Whether a prefix says that the instruction's operand lies at a distance from itself.

    R is 1, in a prefix of type 8LS or MLS (Power ISA 3.1, Book I, 1.6.3).
    """
    return prefix & 0xFD100000 == 0x04100000


def prefixed_shape(prefix: int, suffix: int) -> tuple[int, int]:
    """The two words without d0 and d1, the parts of a distance."""
    return prefix & ~0x3FFFF, suffix & ~0xFFFF


def prefixed_displacement(prefix: int, suffix: int) -> int:
    """Displacement in bytes of a prefixed instruction, of 34 bits."""
    return (((prefix & 0x3FFFF) << 16 | suffix & 0xFFFF) ^ 1 << 33) - (1 << 33)


def disassemble(word: int, place: int = 0) -> str:
    """Text for messages: mnemonic and operands, or `.long` where nothing can disassemble it."""
    # Imported here: a verification that finds no difference does without.
    try:
        import capstone
    except ImportError:
        return f".long {word:#010x}"
    engine = capstone.Cs(capstone.CS_ARCH_PPC, capstone.CS_MODE_64 + capstone.CS_MODE_LITTLE_ENDIAN)
    for _, _, mnemonic, operands in engine.disasm_lite(word.to_bytes(4, "little"), place):
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
    return word in PADDING


def crosses_64_bytes(offset: int) -> bool:
    """True when an 8-byte instruction at this offset would cross a 64-byte boundary."""
    return offset % 64 == 60


def is_exempt(callee: str) -> bool:
    """True for callees after whose call no slot may be put."""
    return callee in EXEMPT or callee.startswith(EXEMPT_PREFIXES)
