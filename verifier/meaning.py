"""What a relocation of IN refers to, and as what.

S + A isn't always the place that is meant. An assembler that is told `target - base` can say it
only relative to the place of the field, so the addend carries `place - base` besides the target:

- the kernel's feature sections (arch/powerpc/include/asm/feature-fixups.h): each field of an entry
  is `.llong label - entry`;
- switch tables of distances (LLVM: each entry is `target - table`);
- relative vtables (LLVM, clang/lib/CodeGen/CGVTables.cpp, addRelativeComponent): each function's
  field is `function - address point`, and that is where the first of these fields lies, behind the
  offset to the top and the type information (Itanium C++ ABI, 2.5.2); a group has several runs;
- (symbol - base)@ha and @l, where a register holds the base (`bcl 20,31,$+4`, or r12 at a
  function's global entry: ELFv2 ABI, 2.3.2.1).

Other fields are each relative to their own place; then nothing is carried. Nothing in the object
says which it is: the kernel's and the compilers' sections of those are known by name.

A place can be meant as the start of something, which is the rule, as an end (of a feature section)
or as a return address: OCaml's frame tables hold those (asmcomp/power/emit.mlp: call, label of the
frame, nop), and nothing but their symbol says so.
"""

from __future__ import annotations

import bisect
import re
from typing import TYPE_CHECKING, NamedTuple

from nopfix.verifier import power
from nopfix.verifier.elf import RESERVED, STT_FUNC, STT_OBJECT
from nopfix.verifier.pairing import END, RET, START
from nopfix.verifier.relocation_types import R_PPC64_REL32, R_PPC64_REL64

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nopfix.verifier.elf import Object, Relocation, Section

RELATIVE = (R_PPC64_REL32, R_PPC64_REL64)
REL16 = frozenset({*range(240, 247), *range(249, 253)})
"""R_PPC64_REL16 and its parts, REL16DX_HA."""

FIXUP_ENTRIES = {
    "__ftr_fixup": 48,
    "__mmu_ftr_fixup": 48,
    "__fw_ftr_fixup": 48,
    "__btb_flush_fixup": 16,
}
"""The kernel's feature sections by name: size of an entry in bytes; of all other `_fixup` 8."""
_FIXUP_ENDS = (24, 40)
"""Where in an entry of 48 bytes the ends of the section and of its alternative are."""

PLAIN = frozenset(
    {
        "__ex_table",
        "__bug_table",
        "__jump_table",
        ".eh_frame",
        ".static_call_sites",
        "__restart_table",
        "__soft_mask_table",
        ".gcc_except_table",
        # LLVM's XRay (version 2 of the map) and its sanitizers' tables
        "xray_instr_map",
        "xray_fn_idx",
        ".kcfi_traps",
    }
)
"""Sections whose PC-relative fields are each relative to their own place."""

_FRAME_TABLE = re.compile(r"caml.*(__|\.|\$)frametable$")


class Labels(NamedTuple):
    """What distances may be relative to."""

    offsets: dict[int, list[int]]
    """For each section, the sorted offsets that code or symbols refer to: where tables begin."""
    address_points: dict[tuple[int, int], int]
    """For each field of a function in a relative vtable, by section and place, the address point's
    offset."""

    def base_of(self, section: int, place: int) -> int | None:
        """The closest label at or before an offset."""
        known = self.offsets.get(section, [])
        position = bisect.bisect_right(known, place)
        return known[position - 1] if position else None


def labels(old: Object, referenced: Mapping[int, Iterable[int]]) -> Labels:
    """The labels of all sections: offsets referred to, and symbols."""
    offsets = {section: set(found) for section, found in referenced.items()}
    for symbol in old.symbols:
        if 0 < symbol.section < RESERVED:
            offsets.setdefault(symbol.section, set()).add(symbol.value)
    return Labels({s: sorted(found) for s, found in offsets.items()}, _address_points(old))


def _address_points(old: Object) -> dict[tuple[int, int], int]:
    """The address points of relative vtables, for `Labels`.

    The Itanium C++ ABI (5.1.4.1) mangles a vtable as _ZTV, a construction vtable as _ZTC.
    """
    found: dict[tuple[int, int], int] = {}
    for symbol in old.symbols:
        if symbol.type != STT_OBJECT or not symbol.name.startswith(("_ZTV", "_ZTC")):
            continue
        point = behind = -1
        typed = False
        for relocation in sorted(old.relocations.get(symbol.section, ())):
            place, section = relocation.place, old.symbols[relocation.symbol].section
            if not symbol.value <= place < symbol.value + symbol.size:
                continue
            defined = 0 < section < len(old.sections)
            if relocation.type != R_PPC64_REL32:
                typed, behind = False, -1
                continue
            if defined and not old.sections[section].executable:
                # The type's, directly in front of the address point.
                typed, point = True, place + 4
                continue
            point = point if typed or place == behind else place
            found[symbol.section, place], behind = point, place + 4
    return found


def base(old: Object, known: Labels, section: Section, relocation: Relocation) -> int | None:
    """What a base-relative relocation is relative to; None for a plain one."""
    if relocation.type in RELATIVE:
        return _table_base(old, known, section, relocation)
    if relocation.type in REL16:
        return _register_base(old, section, relocation)
    return None


def side(section: Section, relocation: Relocation, frame_tables: Mapping[int, FrameTables]) -> str:
    """Whether a field names the start of something, an end, or a return address."""
    if FIXUP_ENTRIES.get(section.name) == 48 and relocation.place % 48 in _FIXUP_ENDS:
        return END
    tables = frame_tables.get(section.number, ())
    return RET if any(start <= relocation.place < end for start, end in tables) else START


FrameTables = list[tuple[int, int]]
"""Extents of a section's tables of return addresses."""


def frame_tables(old: Object) -> dict[int, FrameTables]:
    """OCaml's tables of return addresses: from their symbol to the next one, by section."""
    found: dict[int, FrameTables] = {}
    for symbol in old.symbols:
        if not 0 < symbol.section < RESERVED or not _FRAME_TABLE.match(symbol.name):
            continue
        later = (
            other.value
            for other in old.symbols
            if other.section == symbol.section and other.value > symbol.value
        )
        end = min(later, default=old.sections[symbol.section].size)
        found.setdefault(symbol.section, []).append((symbol.value, end))
    return found


def _table_base(old: Object, known: Labels, section: Section, relocation: Relocation) -> int | None:
    if section.name.endswith("_fixup"):
        size = FIXUP_ENTRIES.get(section.name, 8)
        return relocation.place // size * size
    if section.name in PLAIN or section.name.startswith("__"):
        return None
    if relocation.type == R_PPC64_REL64 and section.executable:
        return None
    point = known.address_points.get((section.number, relocation.place))
    if point is not None:
        return point
    if old.symbols[relocation.symbol].type == STT_FUNC:
        return _object_base(old, section, relocation)
    label = known.base_of(section.number, relocation.place)
    if label is None or label == relocation.place:
        return None
    number, target = old.target(relocation)
    found = target - (relocation.place - label)
    # A distance from the table's start leads to an instruction; anything else is plain.
    if not old.sections[number].executable or found % 4:
        return None
    return label if 0 <= found <= old.sections[number].size else None


def _object_base(old: Object, section: Section, relocation: Relocation) -> int | None:
    """The base of a distance to a function that is named by its own symbol.

    The addend is then all that isn't the function: `place - base`, with a base in the object that
    the field is in.
    """
    found = relocation.place - relocation.addend
    inside = any(
        symbol.type == STT_OBJECT
        and symbol.section == section.number
        and symbol.value <= found <= relocation.place < symbol.value + symbol.size
        for symbol in old.symbols
    )
    return found if inside else None


def _register_base(old: Object, section: Section, relocation: Relocation) -> int | None:
    """Base of `(symbol - base)@ha`: where the last `bcl 20,31,$+4` left its address."""
    data = section.data
    for place in range(relocation.place & ~3, -4, -4):
        word = int.from_bytes(data[place : place + 4], "little")
        if word == power.BCL_NEXT:
            return place + 4
    starts = [
        symbol.value
        for symbol in old.symbols
        if symbol.section == section.number
        and symbol.type == STT_FUNC
        and symbol.value <= relocation.place
    ]
    return max(starts, default=None)
