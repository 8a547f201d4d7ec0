"""Who names a place in code, and as what.

A nop is padding, or a call's slot, only if it is nobody else's. Somebody else is whoever has its
address: a probe (.note.stapsdt, which isn't even loaded), a place that the kernel patches
(__jump_table, feature sections, `patch_site`), a function that begins with nops for a tracer
(-fpatchable-function-entry). All of them say so with a relocation; so what relocations of any
section name is collected here, each in its own meaning (`meaning`), from all sections but those
of debug information and unwinding, which describe code and own none of it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from nopfix.verifier import meaning
from nopfix.verifier.elf import SHF_ALLOC, STT_FUNC, STT_OBJECT
from nopfix.verifier.extents import NOWHERE, Extents
from nopfix.verifier.pairing import RET, START
from nopfix.verifier.relocation_types import FIELD, R_PPC64_ADDR64, R_PPC64_UADDR64, is_marker

if TYPE_CHECKING:
    from nopfix.verifier.elf import Object, Relocation, Section

PATCHABLE = "__patchable_function_entries"
"""GCC and clang, -fpatchable-function-entry=N,M: the first of N nops, M of them before the label.
"""

SLEDS, _SLED_ENTRY = "xray_instr_map", 32
"""LLVM's XRay: the first field of each entry names a sled; bytes of an entry."""
_SLED_KIND, _FUNCTION_EXIT = 16, 1
"""Where an entry has its sled's kind (LLVM, compiler-rt/include/xray/xray_interface.h, and
compiler-rt/lib/xray/xray_interface_internal.h, XRaySledEntry); the kind of those at a return."""

_DESCRIPTIONS = (".debug", ".zdebug", ".eh_frame", ".gcc_except", ".gnu.build.attributes")
"""Sections, by the start of their name, that describe code and own none of it."""

_NAMING_LABELS = (".toc", ".got", "__")
"""Sections, by the start of their name, whose addresses of code are known to be entries: what code
reads to use as an address, and the kernel's own tables."""


_STB_LOCAL = 0
_OF_A_FUNCTION = re.compile(r"_ZZ|.*\.\d+$")
"""Names of variables that are static in a function: C++'s (Itanium C++ ABI, 5.1.6, "Scope
Encoding") and C's of GCC (gcc/defaults.h, ASM_PN_FORMAT). LLVM's in C begin with the function's
name and a dot (clang/lib/CodeGen/CGDecl.cpp, getStaticDeclName)."""


class Names(NamedTuple):
    """What is named in one section of IN; offsets in it."""

    labels: frozenset[int]
    """All that anything refers to, but for return addresses."""
    owned: frozenset[int]
    """What data names as an instruction, not as an end."""
    patchable: frozenset[int]
    """Where the nops of a function that is to be traced begin."""
    sleds: frozenset[int]
    """XRay's sleds, which are patched eight bytes at a time (LLVM, compiler-rt/lib/xray/
    xray_powerpc64.cpp): one that is aligned to 8 may be kept so."""
    exits: frozenset[int]
    """Those at a return, which LLVM aligns to 8, as it doesn't those at a function's entry (LLVM,
    llvm/lib/Target/PowerPC/PPCAsmPrinter.cpp, PATCHABLE_RET)."""
    returns: frozenset[int]
    """Return addresses in tables known to hold them."""
    unknown: frozenset[int]
    """Absolute addresses in data without a rule, of no function's entry: labels or return
    addresses. What a function's own variable holds is a label's: C and C++ have no other (GCC's
    manual, "Labels as Values")."""
    addressed: frozenset[int]
    """What addresses are made of, by code or for it: neither branches nor the kernel's own tables
    name it so."""
    guesses: frozenset[int]
    """Where numbers in data may lead to, if they are distances between labels (`label_tables`)."""


NOTHING = Names(*(frozenset[int]() for _ in Names._fields))


class Reference(NamedTuple):
    """One relocation that leads into the object itself."""

    section: Section
    relocation: Relocation
    number: int
    """The section that it leads to."""
    offset: int
    """The place that is meant there."""
    side: str


def references(old: Object) -> tuple[list[Reference], meaning.Labels]:
    """All relocations of data and code that lead into the object, and the labels of all sections.

    Which label a distance is relative to depends on what else is referred to: two rounds.
    """
    tables = meaning.frame_tables(old)
    plain: list[Reference] = []
    relative: list[Reference] = []
    for number, relocations in old.relocations.items():
        section = old.sections[number]
        if section.name.startswith(_DESCRIPTIONS):
            continue
        own_place = section.name in meaning.PLAIN
        for relocation in relocations:
            target, offset = old.target(relocation)
            if not target or is_marker(relocation.type):
                continue
            side = meaning.side(section, relocation, tables)
            found = Reference(section, relocation, target, offset, side)
            carries = relocation.type in meaning.RELATIVE and not own_place
            (relative if carries else plain).append(found)
    offsets: dict[int, set[int]] = {}
    for found in plain:
        offsets.setdefault(found.number, set()).add(found.offset)
    labels = meaning.labels(old, offsets)
    return plain + [_resolved(old, labels, found) for found in relative], labels


def _resolved(old: Object, labels: meaning.Labels, found: Reference) -> Reference:
    base = meaning.base(old, labels, found.section, found.relocation)
    if base is None:
        return found
    return found._replace(offset=found.offset - (found.relocation.place - base))


def collect(old: Object, found: list[Reference]) -> dict[int, Names]:
    """What is named, by section."""
    entries = {(s.section, s.value) for s in old.symbols if s.type == STT_FUNC}
    own = _own_variables(old)
    sets: dict[int, list[set[int]]] = {}
    for reference in found:
        columns = sets.setdefault(reference.number, [set() for _ in Names._fields])
        for column, belongs in zip(columns, _columns(reference, entries, own), strict=True):
            if belongs:
                column.add(reference.offset)
    return {number: Names(*map(frozenset, columns)) for number, columns in sets.items()}


def _own_variables(old: Object) -> dict[int, Extents]:
    """Where the static variables of functions lie, by section."""
    functions = {symbol.name for symbol in old.symbols if symbol.type == STT_FUNC}
    found: dict[int, list[range]] = {}
    for symbol in old.symbols:
        if symbol.type != STT_OBJECT or symbol.info >> 4 != _STB_LOCAL or not symbol.size:
            continue
        parts = symbol.name.split(".")
        begins = (".".join(parts[:count]) for count in range(1, len(parts)))
        if _OF_A_FUNCTION.match(symbol.name) or not functions.isdisjoint(begins):
            extent = range(symbol.value, symbol.value + symbol.size)
            found.setdefault(symbol.section, []).append(extent)
    return {section: Extents(parts) for section, parts in found.items()}


def _columns(
    reference: Reference, entries: set[tuple[int, int]], own: dict[int, Extents]
) -> tuple[bool, ...]:
    """Which of `Names` a reference belongs to."""
    section, relocation = reference.section, reference.relocation
    returns = reference.side == RET
    data = not section.executable
    sled = section.name == SLEDS and relocation.place % _SLED_ENTRY == 0
    kind = section.data[relocation.place + _SLED_KIND :][:1]
    absolute = relocation.type in (R_PPC64_ADDR64, R_PPC64_UADDR64)
    known = section.name.startswith(_NAMING_LABELS) or not section.flags & SHF_ALLOC
    entry = (reference.number, reference.offset) in entries
    unknown = data and absolute and not returns and not known and not entry
    unknown = unknown and relocation.place not in own.get(section.number, NOWHERE)
    tables = section.name in meaning.PLAIN or section.name.startswith("__")
    branch = FIELD.get(relocation.type, "").startswith("branch")
    return (
        not returns,
        data and reference.side == START,
        section.name == PATCHABLE,
        sled,
        sled and kind == bytes((_FUNCTION_EXIT,)),
        returns,
        unknown,
        not returns and not branch and not tables and bool(section.flags & SHF_ALLOC),
        False,
    )
