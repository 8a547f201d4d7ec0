"""Relocations: the same ones, at the places that moved, leading to the targets that moved.

A relocation of IN and the one of OUT at the same position in the table have the same type and
symbol. Its place follows the section that it patches. What S + A leads to, and on which side of an
insertion that is meant, `meaning` says.

Sections of debug information know more about what a field means; their fields are checked where
they are decoded, through `Fields`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nopfix.verifier import meaning
from nopfix.verifier.pairing import Pairing
from nopfix.verifier.relocation_types import FIELD, R_PPC64_PCREL_OPT, R_PPC64_REL24

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nopfix.verifier.elf import Object, Relocation, Section
    from nopfix.verifier.pairing import AnyPairing
    from nopfix.verifier.report import Findings


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


def string_symbols(obj: Object) -> frozenset[int]:
    """Numbers of the symbols of sections of strings, which don't move."""
    strings = {section.number for section in obj.sections if section.name.endswith("str")}
    return frozenset(
        number for number, symbol in enumerate(obj.symbols) if symbol.section in strings
    )


class Checker:
    """Checks pairs of relocations against the pairings of the sections they lead to."""

    def __init__(
        self,
        old: Object,
        new: Object,
        pairings: Mapping[int, AnyPairing],
        known_labels: meaning.Labels,
        findings: Findings,
    ) -> None:
        """`pairings` by section number; sections that are not in it did not change."""
        self.old = old
        self.new = new
        self.pairings = pairings
        self.labels = known_labels
        self.strings = string_symbols(old)
        self.lists = frozenset(
            section.number
            for section in old.sections
            if section.name.startswith((".debug_loc", ".debug_r"))
        )
        """Sections of location and range lists."""
        self.named = {section.name: section.number for section in old.sections}
        self.frame_tables = meaning.frame_tables(old)
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
        side = meaning.side(section, before, self.frame_tables)
        base = meaning.base(self.old, self.labels, section, before)
        if base is None:
            self._compare(section, pair, side, (old_target, new_target))
            return
        # Relative to `base`: the addend carries the distance from there as well.
        here = self.pairings.get(section.number)
        new_base = here.start(base) if here else base
        if new_base is None:
            self.differ(section, pair, f"its base {base:#x} has no counterpart")
            return
        targets = old_target - (before.place - base), new_target - (after.place - new_base)
        self._compare(section, pair, side, targets, f" (relative to {base:#x})")

    def expect(self, section: int, offset: int, side: str) -> int | None:
        """Where in OUT a reference to an offset of a section of IN has to lead."""
        pairing = self.pairings.get(section)
        if pairing is None:
            return offset
        if 0 <= offset <= pairing.size:
            return pairing.sides[side](offset)
        # Beyond the section: an address that no one can use, kept relative to the nearer end.
        return offset if offset < 0 else offset - pairing.size + pairing.new_size

    def _compare(
        self, section: Section, pair: Pair, side: str, targets: tuple[int, int], how: str = ""
    ) -> None:
        """Compare what is meant in IN with what is in OUT, offsets in the section led to."""
        old_target, found = targets
        number = self.old.target(pair.old)[0]
        name, pairing = self.old.sections[number].name, self.pairings.get(number)
        expected = self.expect(number, old_target, side)
        if isinstance(pairing, Pairing) and pairing.is_inside_instruction(old_target):
            # A label and a constant, which the program subtracts again: which label?
            self.differ(section, pair, f"leads to {name}+{old_target:#x}, inside an instruction")
        elif expected is None:
            self.differ(section, pair, f"leads to {name}+{old_target:#x}, which has no counterpart")
        elif found != expected:
            self.differ(
                section,
                pair,
                f"leads to {name}+{old_target:#x} in IN, so to +{expected:#x} in OUT, but leads"
                f" to +{found:#x}{how}",
            )

    def _foreign(self, section: Section, pair: Pair) -> None:
        """Against a symbol that is not in this object, or no symbol.

        (.TOC. - base)@ha and its kin, and in code `symbol - base`, carry the distance
        from the base; R_PPC64_PCREL_OPT has that of the instruction that uses the address, 0 for
        the next one (binutils, bfd/elf64-ppc.c, ppc64_elf_relocate_section).
        """
        before, after = pair
        here = self.pairings.get(section.number)
        if before.type == R_PPC64_PCREL_OPT and here:
            used = here.word(before.place + before.addend)
            if used is None or used - after.place != after.addend:
                text = (
                    f"its use is {before.addend:#x} behind it in IN, not {after.addend:#x} in OUT"
                )
                self.differ(section, pair, text)
            return
        carries = before.type in meaning.REL16 or (
            before.type in meaning.RELATIVE and section.executable
        )
        base = before.place - before.addend
        moved = here.start(base) if here and carries and before.addend else None
        if moved is None and before.addend != after.addend:
            self.differ(
                section,
                pair,
                f"addend {before.addend:#x} against {self.old.symbol_name(before.symbol)} became"
                f" {after.addend:#x}",
            )
        elif moved is not None and after.place - after.addend != moved:
            self.differ(
                section,
                pair,
                f"its base {base:#x} moved to {moved:#x}, the addend still says"
                f" {after.place - after.addend:#x}",
            )
