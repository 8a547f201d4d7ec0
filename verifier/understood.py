"""What nothing here understands, refused by name.

An insertion makes every offset into the code stale that nobody moved. The checks find those that
they can read; this is the list of what can't be read: sections of a type that may hold offsets or
relocations, sections of numbers about code that moved, relocation types without a rule. An object
that has one of them isn't verified, whatever OUT made of it. So the rule is to deny: a section
type is harmless because it is in the table, not because nothing is known against it.

Section types and flags: the gABI, "Sections"; its extension SHT_CREL (LLVM, "Compact
relocations"); Android's packed relocations (bionic, linker_reloc_iterators.h); LLVM's own
(LLVM, "Extensions", "ELF-Dependent"); GNU's (binutils, include/elf/common.h).
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

from nopfix.verifier.elf import SHF_EXECINSTR, SHT_RELA
from nopfix.verifier.relocation_types import FIELD

if TYPE_CHECKING:
    from collections.abc import Collection

    from nopfix.verifier.elf import Object, Section
    from nopfix.verifier.report import Findings

SHF_INFO_LINK, SHF_LINK_ORDER = 0x40, 0x80

HARMLESS_TYPES = frozenset(
    {
        *(0, 1, 2, 3, 4, 7, 8),  # NULL, PROGBITS, SYMTAB, STRTAB, RELA, NOTE, NOBITS
        *(14, 15, 16, 17, 18),  # INIT_ARRAY, FINI_ARRAY, PREINIT_ARRAY, GROUP, SYMTAB_SHNDX
        0x6FFFFFF5,  # SHT_GNU_ATTRIBUTES
        0x6FFF4C01,  # SHT_LLVM_LINKER_OPTIONS: strings
        0x6FFF4C03,  # SHT_LLVM_ADDRSIG: numbers of symbols
        0x6FFF4C04,  # SHT_LLVM_DEPENDENT_LIBRARIES: strings
        0x6FFF4C05,  # SHT_LLVM_SYMPART: a string, numbers of symbols
        0x6FFF4C09,  # SHT_LLVM_CALL_GRAPH_PROFILE: weights, symbols by relocation
        0x6FFF4C0B,  # SHT_LLVM_OFFLOADING: a program for another machine
        0x6FFF4C0C,  # SHT_LLVM_LTO: bitcode
    }
)
"""Types whose contents are bytes with relocations, or no offsets into code at all."""

RELOCATION_TYPES = {
    9: "SHT_REL",
    19: "SHT_RELR",
    0x40000014: "SHT_CREL",
    0x60000001: "SHT_ANDROID_REL",
    0x60000002: "SHT_ANDROID_RELA",
    0x6FFFFF00: "SHT_ANDROID_RELR",
}
"""Sections of relocations in a form that isn't read here: what they say can't be followed."""

OFFSETS_WITHOUT_RELOCATIONS = {
    ".pseudo_probe": "distances between probes",
    ".llvm_bb_addr_map": "distances between basic blocks",
    ".llvm_stackmaps": "distances of calls from their function",
    ".llvm_faultmaps": "distances of loads from their function",
    ".BTF.ext": "offsets of instructions",
    ".gopclntab": "distances between instructions",
    ".sframe": "distances of unwind rows from their function",
    ".orc_unwind": "addresses of unwind rows",
    ".stab": "lines at distances from their function",
    ".line": "lines at distances from their function",
    "sanmd_covered": "the size of each function",
    "sanmd_atomics": "distances of instructions",
    ".gdb_index": "addresses of units and of what they are about",
    ".debug_cu_index": "distances of units",
    ".debug_tu_index": "distances of units",
}
"""Sections, by the start of their name, that hold offsets into code as plain numbers, and which.

LLVM: "Pseudo probes" (llvm/MC/MCPseudoProbe.h), "Stack maps", "FaultMaps",
"SanitizerBinaryMetadata" (covered2 holds sizes); Linux, Documentation/bpf/btf.rst; Go,
src/debug/gosym; binutils, "SFrame"; gdb, "STABS", "Index
Section Format"; DWARF 5, 7.3.5.3; DWARF 1."""


def check(old: Object, moved: Collection[int], findings: Findings) -> None:
    """Refuse what can't be read in an object whose code sections `moved` are not as they were."""
    if not moved:
        return
    for section in old.sections:
        for text in _unread(old, section, moved):
            findings.differ("not-understood", section.name, None, None, text)


def _unread(old: Object, section: Section, moved: Collection[int]) -> list[str]:
    """What of a section can't be followed, in words."""
    if section.type in RELOCATION_TYPES:
        return [f"relocations in a section of type {RELOCATION_TYPES[section.type]}"]
    if section.type not in HARMLESS_TYPES and section.size:
        return [f"a section of the unknown type {section.type:#x}"]
    if section.type == SHT_RELA:
        return []
    found = _unknown_relocations(old, section, moved)
    relocations = old.relocations.get(section.number, ())
    if section.flags & SHF_EXECINSTR or not section.size:
        return found
    linked = [
        number
        for number, flag in ((section.link, SHF_LINK_ORDER), (section.info, SHF_INFO_LINK))
        if section.flags & flag and number
    ]
    names = OFFSETS_WITHOUT_RELOCATIONS.items()
    numbers = [what for name, what in names if section.name.startswith(name)]
    if not numbers and not linked:
        return found
    about = set(linked) or {old.places[symbol][0] for symbol in {r.symbol for r in relocations}}
    if about and about.isdisjoint(moved):
        return found
    if numbers:
        return [*found, f"{numbers[0]}, as numbers that nothing here can follow"]
    if linked and not relocations:
        code = old.sections[linked[0]].name
        found.append(f"belongs to {code}, which moved, and says without relocations how")
    return found


def _unknown_relocations(old: Object, section: Section, moved: Collection[int]) -> list[str]:
    """The relocation types without a rule, where they are in or lead into code that moved."""
    relocations = old.relocations.get(section.number, ())
    unknown = set(map(operator.itemgetter(1), relocations)) - FIELD.keys()
    if unknown:
        unknown = {
            kind
            for _, kind, symbol, _ in relocations
            if kind in unknown and (section.number in moved or old.places[symbol][0] in moved)
        }
    return [f"relocations of the unknown type {number}" for number in sorted(unknown)]
