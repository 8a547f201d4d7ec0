"""What a relocation does to the place it lies at, by type.

From the table of relocation types of the 64-bit ELF V2 ABI (version 1.5, section 3.5.3), with the
numbers of binutils' include/elf/ppc64.h for what the ABI's text leaves out. Types that only a
dynamic linker meets (COPY, GLOB_DAT, JMP_SLOT, RELATIVE, IRELATIVE, JMP_IREL, D34_HI30 and other
reserved numbers) don't occur in relocatable objects and are not in here: what is not in here is
not understood, and an object that has it can't be judged.

A type fills a field: a word or doubleword of data, a half word of an instruction, the displacement
of a branch, the two parts of a prefixed instruction. A *marker* fills nothing: it says something
about the instruction (which call the argument of __tls_get_addr belongs to) or keeps a symbol
alive, and the instruction is what it would be without.
"""

from __future__ import annotations

from typing import Literal

Field = Literal["word", "doubleword", "half", "branch24", "branch14", "prefixed", "marker"]

R_PPC64_NONE, R_PPC64_REL24, R_PPC64_REL32, R_PPC64_REL64 = 0, 10, 26, 44
R_PPC64_ADDR64, R_PPC64_UADDR64 = 38, 43
R_PPC64_REL24_NOTOC, R_PPC64_PCREL_OPT = 116, 123

_BY_FIELD: dict[Field, tuple[int, ...]] = {
    # NONE, TLS, TLSGD, TLSLD, TOCSAVE, ENTRY, PLTSEQ, PLTCALL and their NOTOC kin, PCREL_OPT,
    # GNU_VTINHERIT, GNU_VTENTRY
    "marker": (0, 67, 107, 108, 109, 118, 119, 120, 121, 122, 123, 253, 254),
    # ADDR32, UADDR32, REL32, PLT32, PLTREL32, ADDR30
    "word": (1, 24, 26, 27, 28, 37),
    # ADDR64, UADDR64, REL64, PLT64, PLTREL64, TOC, DTPMOD64, TPREL64, DTPREL64, ADDR64_LOCAL
    "doubleword": (38, 43, 44, 45, 46, 51, 68, 73, 78, 117),
    # ADDR24, REL24, REL24_NOTOC, REL24_P9NOTOC
    "branch24": (2, 10, 116, 124),
    # ADDR14, REL14 and their forms with a hint
    "branch14": (7, 8, 9, 11, 12, 13),
    # D34 and its parts, PCREL34, GOT_PCREL34, PLT_PCREL34 (NOTOC), ADDR16_HIGHER34 and its kin,
    # REL16_HIGHER34 and its kin, D28, PCREL28, TPREL34, DTPREL34, GOT_..._PCREL34
    "prefixed": (128, 129, 130, 131, 132, 133, 134, 135, *range(136, 152)),
    # ADDR16, UADDR16, GOT16, PLT16, SECTOFF, ADDR16_HIGHER..., TOC16, PLTGOT16 and their parts;
    # those of thread-local storage; REL16 and its parts, REL16DX_HA
    "half": (
        *(3, 4, 5, 6, 14, 15, 16, 17, 25, 29, 30, 31, 33, 34, 35, 36, 39, 40, 41, 42),
        *(47, 48, 49, 50, *range(52, 67), 69, 70, 71, 72, 74, 75, 76, 77, *range(79, 107)),
        *(*range(110, 116), *range(240, 247), *range(249, 253)),
    ),
}

FIELD: dict[int, Field] = {number: field for field, types in _BY_FIELD.items() for number in types}
"""The field that a type fills; types that are not understood are missing."""

DATA_WIDTH = {
    number: 4 if field == "word" else 8
    for number, field in FIELD.items()
    if field in ("word", "doubleword")
}
"""Bytes that a relocation of data covers."""


def is_marker(number: int) -> bool:
    """True for a type that leaves the place as it is."""
    return FIELD.get(number) == "marker"
