"""Relocations: the same ones, at the places that moved, leading to the targets that moved.

A relocation of IN and the one of OUT at the same position in the table have the same type and
symbol. Its place follows the section that it patches. What S + A leads to depends on the type:

- most lead to the target, plainly; PC-relative ones too, as the linker subtracts the place;
- some carry `place - base` in the addend besides the target, because the assembler was given
  `target - base` and could only express it relative to the place: entries of switch tables with
  REL32, the kernel's *_fixup tables with REL64 (base: start of the entry), and the REL16 pairs
  (base: the address that the code has in a register).

Sections of debug information know more about what a field means; their fields are checked where
they are decoded, through `Fields`.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, NamedTuple

from verifier.elf import RESERVED, Object, Relocation, Section
from verifier.relocation_types import (
    FIELD,
    R_PPC64_REL24,
    R_PPC64_REL32,
    R_PPC64_REL64,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from verifier.container import AnyPairing
    from verifier.report import Findings

R_PPC64_PCREL34 = 132
REL16 = frozenset({249, 250, 251, 252, 240, 241, 242, 243, 244, 245, 246})
"""R_PPC64_REL16, _LO, _HI, _HA, and _HIGH, _HIGHA, _HIGHER(A), _HIGHEST(A), REL16DX_HA."""

R_PPC64_ENTRY = 118

FIXUP_ENTRIES = {
    "__ftr_fixup": 48,
    "__ftr_alt_": 0,
    "__mmu_ftr_fixup": 48,
    "__fw_ftr_fixup": 48,
    "__lwsync_fixup": 8,
    "__spec_barrier_fixup": 8,
    "__btb_flush_fixup": 16,
    "__stf_entry_barrier_fixup": 8,
    "__stf_exit_barrier_fixup": 8,
    "__uaccess_flush_fixup": 8,
    "__entry_flush_fixup": 8,
    "__scv_entry_flush_fixup": 8,
    "__rfi_flush_fixup": 8,
}
"""The kernel's feature sections (arch/powerpc/include/asm/feature-fixups.h): entry size, bytes.

Each REL64 in an entry is the distance from the entry's start, `.llong label - entry`."""

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
    }
)
"""Sections whose PC-relative fields are each relative to their own place."""


class Labels(NamedTuple):
    """For each section, the sorted offsets that code or symbols refer to: where tables begin."""

    offsets: dict[int, list[int]]

    def base_of(self, section: int, place: int) -> int | None:
        """The closest label at or before an offset."""
        known = self.offsets.get(section, [])
        position = bisect.bisect_right(known, place)
        return known[position - 1] if position else None


def references(old: Object) -> dict[int, frozenset[int]]:
    """For each section, the offsets in it that relocations refer to.

    References from debug information do not count: they are not what makes a table a table.
    """
    found: dict[int, set[int]] = {}
    for index, relocations in old.relocations.items():
        if old.sections[index].name.startswith((".debug", ".eh_frame", ".gcc_except")):
            continue
        patched = old.sections[index]
        for relocation in relocations:
            section, offset = old.target(relocation)
            if not section:
                continue
            # A REL32 or REL64 may be base-relative: its target is not known here.
            if relocation.type in (R_PPC64_REL32, R_PPC64_REL64) and patched.name not in PLAIN:
                continue
            found.setdefault(section, set()).add(offset)
    return {section: frozenset(offsets) for section, offsets in found.items()}


def labels(old: Object, referenced: Mapping[int, frozenset[int]]) -> Labels:
    """The labels of all sections: offsets referred to, and symbols."""
    offsets = {section: set(found) for section, found in referenced.items()}
    for symbol in old.symbols:
        if 0 < symbol.section < RESERVED:
            offsets.setdefault(symbol.section, set()).add(symbol.value)
    return Labels({section: sorted(found) for section, found in offsets.items()})


class Pair(NamedTuple):
    """A relocation of IN and its counterpart in OUT."""

    old: Relocation
    new: Relocation


def pair(old: Object, new: Object, section: Section, findings: Findings) -> list[Pair] | None:
    """Pair the relocations of a section by position; None when they can't be paired."""
    before = old.relocations.get(section.number, ())
    after = new.relocations.get(section.number, ())
    if len(before) != len(after):
        findings.differ(
            "relocation",
            section.name,
            None,
            None,
            f"has {len(before)} relocations in IN, {len(after)} in OUT",
        )
        return None
    findings.count("relocation", len(before))
    return [Pair(a, b) for a, b in zip(before, after, strict=True)]


class Checker:
    """Checks pairs of relocations against the pairings of the sections they lead to."""

    def __init__(
        self,
        old: Object,
        new: Object,
        pairings: Mapping[int, AnyPairing],
        known_labels: Labels,
        findings: Findings,
    ) -> None:
        """`pairings` by section number; sections that are not in it did not change."""
        self.old = old
        self.new = new
        self.pairings = pairings
        self.labels = known_labels
        self.findings = findings

    def differ(self, section: Section, pair: Pair, text: str) -> None:
        """Report a difference at a relocation."""
        self.findings.differ("relocation", section.name, pair.old.place, pair.new.place, text)

    def section(self, section: Section, pairs: list[Pair]) -> None:
        """Check all relocations of a section that holds no debug information."""
        patched = self.pairings.get(section.number)
        for pair in pairs:
            before, after = pair
            place = patched.word(before.place) if patched else before.place
            kind = before.type
            if patched and after.place != place and FIELD.get(kind) == "branch14":
                place, kind = self._expanded(section, pair, place)
            if place is None:
                self.differ(section, pair, "its place has no counterpart in OUT")
                continue
            if after.place != place:
                self.differ(section, pair, f"its place is {place:#x} in OUT, not {after.place:#x}")
                continue
            if kind != after.type or before.symbol != after.symbol:
                self.differ(
                    section,
                    pair,
                    f"type {before.type} against {self.old.symbol_name(before.symbol)} became"
                    f" type {after.type} against {self.new.symbol_name(after.symbol)}",
                )
                continue
            self._target(section, pair)

    def _expanded(self, section: Section, pair: Pair, place: int | None) -> tuple[int | None, int]:
        """A relocated conditional branch that became a `bc` over a relocated `b`."""
        new = self.new.sections[section.number].data
        if (
            place is not None
            and pair.new.place in (place + 4, place + 8)
            and new[place] & 0xFC == 8
            and pair.new.type == R_PPC64_REL24
        ):
            return pair.new.place, R_PPC64_REL24
        return place, pair.old.type

    def _target(self, section: Section, pair: Pair) -> None:
        before, after = pair
        old_section, old_target = self.old.target(before)
        new_section, new_target = self.new.target(after)
        if old_section != new_section:
            self.differ(section, pair, "leads to another section")
            return
        if not old_section:
            self._foreign(section, pair)
            return
        base = self._base(section, before)
        if base is None:
            expected = self.expect(old_section, old_target)
            self._compare(section, pair, old_target, expected, new_target)
            return
        distance = before.place - base
        expected = self.expect(old_section, old_target - distance)
        here = self.pairings.get(section.number)
        new_base = here.start(base) if here else base
        if expected is None or new_base is None:
            self.differ(section, pair, f"its base {base:#x} or its target has no counterpart")
            return
        self._compare(
            section,
            pair,
            old_target - distance,
            expected,
            new_target - (after.place - new_base),
            f" (relative to {base:#x})",
        )

    def expect(self, section: int, offset: int) -> int | None:
        """Where in OUT a reference to an offset of a section of IN has to lead."""
        pairing = self.pairings.get(section)
        if pairing is None:
            return offset
        if 0 <= offset <= pairing.size:
            return pairing.start(offset)
        # Beyond the section: an address that no one can use, kept relative to the nearer end.
        return offset if offset < 0 else offset - pairing.size + pairing.new_size

    def _compare(
        self,
        section: Section,
        pair: Pair,
        old_target: int,
        expected: int | None,
        found: int,
        how: str = "",
    ) -> None:
        name = self.old.sections[self.old.target(pair.old)[0]].name
        if expected is None:
            self.differ(section, pair, f"leads to {name}+{old_target:#x}, which has no counterpart")
        elif found != expected:
            self.differ(
                section,
                pair,
                f"leads to {name}+{old_target:#x} in IN, so to +{expected:#x} in OUT, but leads"
                f" to +{found:#x}{how}",
            )

    def _foreign(self, section: Section, pair: Pair) -> None:
        """Against a symbol that is not in this object, or no symbol."""
        before, after = pair
        if before.type in REL16 and before.addend != after.addend:
            # (.TOC. - base)@ha and its kin: the addend is the distance from the base.
            here = self.pairings.get(section.number)
            base = before.place - before.addend
            moved = here.start(base) if here else base
            if moved is not None and after.place - after.addend == moved:
                return
        elif before.type in REL16 and before.addend:
            here = self.pairings.get(section.number)
            base = before.place - before.addend
            moved = here.start(base) if here and 0 <= base <= here.size else None
            if moved is not None and after.place - after.addend != moved:
                self.differ(
                    section,
                    pair,
                    f"its base {base:#x} moved to {moved:#x}, the addend still says"
                    f" {after.place - after.addend:#x}",
                )
            return
        if before.addend != after.addend:
            self.differ(
                section,
                pair,
                f"addend {before.addend:#x} against {self.old.symbol_name(before.symbol)} became"
                f" {after.addend:#x}",
            )

    def _base(self, section: Section, relocation: Relocation) -> int | None:
        """What a base-relative relocation is relative to; None for a plain one."""
        if relocation.type in (R_PPC64_REL32, R_PPC64_REL64):
            return self._table_base(section, relocation)
        if relocation.type in REL16:
            return self._register_base(section, relocation)
        return None

    def _table_base(self, section: Section, relocation: Relocation) -> int | None:
        name = section.name
        size = FIXUP_ENTRIES.get(name)
        if size is None and name.endswith("_fixup"):
            size = 8
        if size:
            return relocation.place // size * size
        if name in PLAIN or name.startswith("__"):
            return None
        if relocation.type == R_PPC64_REL64 and section.executable:
            return None
        base = self.labels.base_of(section.number, relocation.place)
        if base is None or base == relocation.place:
            return None
        old_section, target = self.old.target(relocation)
        found = target - (relocation.place - base)
        # A distance from the table's start leads to an instruction; anything else is plain.
        if not self.old.sections[old_section].executable or found % 4:
            return None
        if not 0 <= found <= self.old.sections[old_section].size:
            return None
        return base

    def _register_base(self, section: Section, relocation: Relocation) -> int | None:
        """Base of `(symbol - base)@ha`: where the last `bcl 20,31,$+4` left its address."""
        data = section.data
        for place in range(relocation.place & ~3, -4, -4):
            word = int.from_bytes(data[place : place + 4], "little")
            if word == 0x429F0005:
                return place + 4
        starts = [
            symbol.value
            for symbol in self.old.symbols
            if symbol.section == section.number
            and symbol.type == 2
            and symbol.value <= relocation.place
        ]
        return max(starts, default=None)
