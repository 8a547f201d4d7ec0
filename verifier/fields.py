"""Fields of unwind and debug sections: a value, or a relocation where the value would be.

A decoder reads IN's section and OUT's in step. For each field it says which side of an insertion
the field is on; whether a relocation sits there and leads to the right place is found out here.
Relocations may lead into sections that are decoded later, so all of them are judged at the end,
when every pairing is known. A relocation that no decoder came across is a difference.
"""

from __future__ import annotations

import bisect
import functools
import operator
import struct
from typing import TYPE_CHECKING, NamedTuple

from nopfix.verifier.pairing import END, RET, START
from nopfix.verifier.relocation_types import (
    DATA_WIDTH,
    R_PPC64_NONE,
    R_PPC64_REL32,
    R_PPC64_REL64,
)
from nopfix.verifier.relocations import Checker, string_symbols

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nopfix.verifier.elf import Object, Relocation, Section


class Target(NamedTuple):
    """An address in IN, as section and offset, and the same in OUT."""

    section: int
    old: int
    new: int


class Block(NamedTuple):
    """Bytes that an attribute or a list has, and where they begin in the section."""

    data: bytes
    place: int


class Fields:
    """One section's fields in IN and OUT."""

    def __init__(self, checker: Checker, section: Section) -> None:
        """Fields of `section` of IN, and of the section with its number of OUT."""
        self.checker = checker
        self.findings = checker.findings
        self.section = section
        self.name = section.name
        self.counterpart = checker.new.sections[section.number]
        self.raw, self.new_raw = section.data, self.counterpart.data
        self.tables = [_alive(obj, section.number) for obj in (checker.old, checker.new)]
        self.old_relocations, self.new_relocations = map(_by_place, self.tables)
        self.seen = bytearray(len(self.raw) + 1)
        """1 at the places of IN's relocations that a field has explained."""
        self.pending: list[tuple[Relocation, Relocation, str]] = []
        """Relocations of IN and of OUT, and the side of an insertion that they are on."""

    @functools.cached_property
    def old(self) -> bytes:
        """IN's bytes with what relocations fill in (`prelinked`)."""
        return prelinked(self.checker.old, self.section)

    @functools.cached_property
    def new(self) -> bytes:
        """OUT's bytes with what relocations fill in."""
        return prelinked(self.checker.new, self.counterpart)

    @functools.cached_property
    def places(self) -> list[int]:
        """The places of IN's relocations, in order."""
        return sorted(self.old_relocations)

    @functools.cached_property
    def new_places(self) -> list[int]:
        """The places of OUT's relocations, in order."""
        return sorted(self.new_relocations)

    def differ(self, rule: str, old: int | None, new: int | None, text: str) -> None:
        """Report a difference in this section."""
        self.findings.differ(rule, self.name, old, new, text)

    def equal(self, rule: str, old: int, new: int, before: object, after: object) -> bool:
        """Compare two values that no insertion can change."""
        if before == after:
            return True
        self.differ(rule, old, new, f"{_show(before)} in IN, {_show(after)} in OUT")
        return False

    def relocated(self, old: int, new: int, side: str = START) -> Target | None:
        """A field that may have a relocation. Returns where it leads, or None without one.

        The relocation is judged later; `side` is the side of an insertion that it is on.
        """
        before = self.old_relocations.get(old)
        after = self.new_relocations.get(new)
        if before is None and after is None:
            return None
        self.seen[old] = 1
        if before is None or after is None:
            self.differ("relocation", old, new, f"a relocation only in {'IN' if before else 'OUT'}")
            return None
        self.pending.append((before, after, side))
        width = DATA_WIDTH.get(before.type, 1)
        filled, found = self.raw[old : old + width], self.new_raw[new : new + width]
        if filled != found:
            self.equal("contents", old, new, filled, found)
        return self.target(old, new)

    def is_start(self) -> None:
        """The field that was asked for last begins something, whatever side was said."""
        before, after, _ = self.pending[-1]
        self.pending[-1] = (before, after, START)

    def target(self, old: int, new: int) -> Target | None:
        """Where the relocation of a field leads in IN and OUT; None where one of them has none."""
        before, after = self.old_relocations.get(old), self.new_relocations.get(new)
        if before is None or after is None:
            return None
        section, target = self.checker.old.target(before)
        return Target(section, target, self.checker.new.target(after)[1])

    def between(self, start: int, end: int, *, new: bool = False) -> list[int]:
        """The places of relocations from `start` up to `end`, in IN or in OUT."""
        places = self.new_places if new else self.places
        first = bisect.bisect_left(places, start)
        if first == len(places) or places[first] >= end:
            return []
        return places[first : bisect.bisect_left(places, end, first)]

    def block(self, a: Block, b: Block) -> None:
        """Relocations inside a block of bytes: addresses in an expression, for instance."""
        inside = self.between(a.place, a.place + len(a.data))
        new_inside = self.between(b.place, b.place + len(b.data), new=True)
        if len(inside) != len(new_inside):
            self.differ("expression", a.place, b.place, "its relocations differ in number")
        for place, new_place in zip(inside, new_inside, strict=False):
            self.relocated(place, new_place, START)

    def unchanged(self, start: int, end: int, shift: int) -> None:
        """Bytes of IN that are equal in OUT, `shift` bytes further on, and say nothing about code.

        Strings don't move, so no field has to explain a relocation that leads to one and is the
        same in OUT; any other (a thread-local variable's, in its location) is judged as it stands.
        What a field of these bytes has explained is left alone.
        """
        strings, old, new = self.checker.strings, self.old_relocations, self.new_relocations
        seen = self.seen
        for place in self.between(start, end):
            if seen[place]:
                continue
            seen[place] = 1
            before, after = old[place], new.get(place + shift)
            if after is None:
                self.differ("relocation", place, place + shift, "a relocation only in IN")
            elif before[2] not in strings or (after is not before and before[1:] != after[1:]):
                self.pending.append((before, after, START))

    def close(self) -> None:
        """Report the relocations of IN that no field had; only `judge` is left to be called.

        What is looked up by place is a third of a verification's memory, so it goes.
        """
        for place in self.places:
            if not self.seen[place]:
                name = self.checker.old.symbol_name(self.old_relocations[place].symbol)
                text = f"a relocation against {name} that no field explains"
                self.differ("relocation", place, None, text)
        self._judge_numbers()
        for name in ("seen", "tables", "old_relocations", "new_relocations"):
            delattr(self, name)
        for name in ("old", "new", "places", "new_places"):
            self.__dict__.pop(name, None)

    def judge(self) -> None:
        """Judge all relocations met."""
        checker = self.checker
        pairings, places, new_places = checker.pairings, checker.old.places, checker.new.places
        for before, after, side in self.pending:
            # Nearly all are right, so nothing is called for them but what finds their place.
            section, value = places[before[2]]
            pairing = pairings.get(section)
            if pairing is None:
                right = before[1:] == after[1:]
            else:
                right = (
                    before[1:3] == after[1:3]
                    and pairing.sides[side](value + before[3]) == new_places[after[2]][1] + after[3]
                )
            if not right:
                self._judge(before, after, side)
        self.findings.count("relocation", len(self.pending))

    def _judge_numbers(self) -> None:
        """No two relocations at one place, none in OUT that IN has not, and all in IN's order.

        Only .debug_addr may have more in OUT: new addresses, which its decoder checks.
        """
        tables = self.tables
        counts = [*map(len, tables)]
        distinct = [len(self.old_relocations), len(self.new_relocations)]
        if counts != distinct:
            self.differ("relocation", None, None, "two relocations at one place")
        elif counts[0] != counts[1] and self.name != ".debug_addr":
            self.differ(
                "relocation",
                None,
                None,
                f"has {counts[0]} relocations in IN, {counts[1]} in OUT",
            )
        else:
            order = _order(tables[0])
            if order != _order(tables[1] if order is None else tables[1][: counts[0]]):
                self.differ("relocation", None, None, "its relocations are in another order")
        dead = [
            len(obj.relocations.get(self.section.number, ())) - count
            for obj, count in zip((self.checker.old, self.checker.new), counts, strict=True)
        ]
        self.equal("relocation", 0, 0, *dead)

    def _judge(self, before: Relocation, after: Relocation, side: str) -> None:
        checker = self.checker
        if before.type != after.type or before.symbol != after.symbol:
            self.differ(
                "relocation",
                before.place,
                after.place,
                f"type {before.type} against {checker.old.symbol_name(before.symbol)} became type"
                f" {after.type} against {checker.new.symbol_name(after.symbol)}",
            )
            return
        section, old_target = checker.old.target(before)
        _, new_target = checker.new.target(after)
        expected = self.move(section, old_target, side)
        named = 0 < section < len(checker.old.sections)
        name = checker.old.sections[section].name if named else "addend "
        if expected is None:
            self.differ(
                "relocation",
                before.place,
                after.place,
                f"leads to {name}+{old_target:#x}, which has no counterpart in OUT",
            )
        elif expected != new_target:
            self.differ(
                "relocation",
                before.place,
                after.place,
                f"leads to {name}+{old_target:#x} in IN, so to +{expected:#x} in OUT"
                f" ({_SIDES[side]}), but leads to +{new_target:#x}",
            )

    def move(self, section: int, offset: int, side: str) -> int | None:
        """Where an offset of a section of IN is in OUT, on the given side."""
        pairing = self.checker.pairings.get(section)
        return offset if pairing is None else pairing.sides[side](offset)

    def distance(self, base: Target, length: int, side: str) -> int | None:
        """A distance from a base address in IN, as it must be in OUT."""
        if not base.section:
            return length
        start = self.move(base.section, base.old, START)
        there = self.move(base.section, base.old + length, side)
        return None if start is None or there is None else there - start

    def span(self, target: Target | None, length: int) -> int | None:
        """Length in OUT of the range of `length` bytes that begins at a target."""
        if target is None or not length:
            return length
        return self.distance(target, length, END)


_SIDES = {START: "where it begins", END: "where it ends", RET: "where the call returns"}


def shown(offset: int | None) -> str:
    """An offset of OUT for a message; None is what has no counterpart."""
    return "nowhere" if offset is None else f"{offset:#x}"


def _show(value: object) -> str:
    if isinstance(value, bytes):
        return value[:24].hex(" ") + (" ..." if len(value) > 24 else "")
    return hex(value) if isinstance(value, int) else str(value)


def _by_place(relocations: Sequence[Relocation]) -> dict[int, Relocation]:
    return dict(zip(map(operator.itemgetter(0), relocations), relocations, strict=True))


def _alive(obj: Object, section: int) -> tuple[Relocation, ...]:
    """A section's relocations but for R_PPC64_NONE against nothing.

    `ld -r` leaves such a one for a field of unwind or debug information about a function that it
    has dropped with its group (binutils, bfd/elf-bfd.h, RELOC_AGAINST_DISCARDED_SECTION), at the
    field's old place, where another field may be by then.
    """
    relocations = obj.relocations.get(section, ())
    if _DEAD not in set(map(operator.itemgetter(1, 2), relocations)):
        return relocations
    return tuple(found for found in relocations if (found.type, found.symbol) != _DEAD)


_DEAD = (R_PPC64_NONE, 0)


def _order(relocations: Sequence[Relocation]) -> list[int] | None:
    """The numbers of relocations by their places; None where that is how they come."""
    places = [*map(operator.itemgetter(0), relocations)]
    if all(map(operator.le, places, places[1:])):
        return None
    return sorted(range(len(places)), key=places.__getitem__)


def prelinked(obj: Object, section: Section) -> bytes:
    """The section's bytes with S + A filled in where a relocation defined in the object says so.

    Code addresses come out as offsets in their section, offsets into other debug sections as what
    they are. PC-relative fields stay as they are, as do offsets of strings, which nobody asks for.
    """
    data = bytearray(section.data)
    strings = string_symbols(obj)
    for relocation in obj.relocations.get(section.number, ()):
        width = DATA_WIDTH.get(relocation.type, 0)
        if (
            not width
            or relocation.symbol in strings
            or relocation.type in (R_PPC64_REL32, R_PPC64_REL64)
        ):
            continue
        target, value = obj.target(relocation)
        if target and relocation.place + width <= len(data):
            value &= (1 << 8 * width) - 1
            struct.pack_into("<Q" if width == 8 else "<I", data, relocation.place, value)
    return bytes(data)
