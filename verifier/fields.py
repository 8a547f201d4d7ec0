"""Fields of unwind and debug sections: a value, or a relocation where the value would be.

A decoder reads IN's section and OUT's in step. For each field it says which side of an insertion
the field is on; whether a relocation sits there and leads to the right place is found out here.
Relocations may lead into sections that are decoded later, so all of them are judged at the end,
when every pairing is known. A relocation that no decoder came across is a difference.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from nopfix.verifier.pairing import END, RET, START
from nopfix.verifier.relocation_types import DATA_WIDTH, R_PPC64_REL32, R_PPC64_REL64
from nopfix.verifier.relocations import Checker, Pair

if TYPE_CHECKING:
    from nopfix.verifier.elf import Object, Relocation, Section


class Malformed(Exception):
    """A section can't be decoded; the text says where and why."""


class Reader:
    """Bytes of a section with a position; raises Malformed beyond the end."""

    def __init__(self, data: bytes, position: int, end: int) -> None:
        """Read `data` from `position`, no further than `end`."""
        self.data = data
        self.position = position
        self.end_of_data = min(end, len(data))

    def unsigned(self, size: int) -> int:
        """An unsigned number of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        start = self.position
        if start + size > self.end_of_data:
            raise Malformed(f"cut short at {start:#x}")
        self.position = start + size
        return self.data[start : start + size]

    def uleb(self) -> int:
        """An unsigned LEB128 number (DWARF 5, 7.6)."""
        position = self.position
        if position < self.end_of_data and self.data[position] < 0x80:
            # Nearly all are a byte; three quarters of the time went into the loop below.
            self.position = position + 1
            return self.data[position]
        value = shift = 0
        while True:
            byte = self.unsigned(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 70:
                raise Malformed(f"LEB128 too long at {self.position:#x}")

    def sleb(self) -> int:
        """A signed LEB128 number."""
        start = self.position
        value = self.uleb()
        bits = 7 * (self.position - start)
        return value - (1 << bits) if value >> (bits - 1) else value

    def string(self) -> bytes:
        """A null-terminated string, without the null."""
        end = self.data.find(b"\0", self.position, self.end_of_data)
        if end < 0:
            raise Malformed(f"string without end at {self.position:#x}")
        found = self.data[self.position : end]
        self.position = end + 1
        return found

    def initial_length(self) -> tuple[int, int]:
        """unit_length and the size of offsets that goes with it (DWARF 5, 7.4)."""
        length = self.unsigned(4)
        if length == 0xFFFFFFFF:
            return self.unsigned(8), 8
        if length >= 0xFFFFFFF0:
            raise Malformed(f"reserved initial length at {self.position - 4:#x}")
        return length, 4

    @property
    def done(self) -> bool:
        """True at the end."""
        return self.position >= self.end_of_data


class Target(NamedTuple):
    """An address in IN, as section and offset, and the same in OUT."""

    section: int
    old: int
    new: int


class Fields:
    """One section's fields in IN and OUT."""

    def __init__(self, checker: Checker, section: Section) -> None:
        """Fields of `section` of IN, and of the section with its number of OUT."""
        self.checker = checker
        self.findings = checker.findings
        self.section = section
        self.name = section.name
        self.old_relocations = _by_place(checker.old, section.number)
        self.new_relocations = _by_place(checker.new, section.number)
        self.old = prelinked(checker.old, section)
        self.new = prelinked(checker.new, checker.new.sections[section.number])
        self.seen: set[int] = set()
        self.pending: list[tuple[Pair, str]] = []

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
        self.seen.add(old)
        if before is None or after is None:
            self.differ("relocation", old, new, f"a relocation only in {'IN' if before else 'OUT'}")
            return None
        self.pending.append((Pair(before, after), side))
        width = DATA_WIDTH.get(before.type, 1)
        filled = self.section.data[old : old + width]
        found = self.checker.new.sections[self.section.number].data[new : new + width]
        if filled != found:
            self.equal("contents", old, new, filled, found)
        section, target = self.checker.old.target(before)
        _, new_target = self.checker.new.target(after)
        return Target(section, target, new_target)

    def unchanged(self, places: list[int], shift: int) -> None:
        """Fields of IN whose bytes are equal in OUT, at the same distance `shift`, and whose
        relocations lead into sections in which nothing moves: strings.
        """
        self.seen.update(places)
        for place in places:
            before, after = self.old_relocations[place], self.new_relocations[place + shift]
            if before[1:] != after[1:] or before.symbol not in self.checker.strings:
                self.pending.append((Pair(before, after), START))

    def judge(self) -> None:
        """Judge all relocations met, and report those of IN that no field had."""
        checker = self.checker
        for pair, side in self.pending:
            self._judge(pair, side)
        for place, relocation in self.old_relocations.items():
            if place not in self.seen:
                name = checker.old.symbol_name(relocation.symbol)
                self.differ(
                    "relocation", place, None, f"a relocation against {name} that no field explains"
                )
        self._judge_numbers()
        self.findings.count("relocation", len(self.pending))

    def _judge_numbers(self) -> None:
        """No two relocations at one place, and none in OUT that IN has not.

        Only .debug_addr may have more in OUT: new addresses, which its decoder checks.
        """
        counts = [
            len(obj.relocations.get(self.section.number, ()))
            for obj in (self.checker.old, self.checker.new)
        ]
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

    def _judge(self, pair: Pair, side: str) -> None:
        checker = self.checker
        before, after = pair
        section = checker.old.symbols[before.symbol].section
        if before[1:] == after[1:] and section not in checker.pairings:
            # Into what is as it was, and the same: most are.
            return
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
        if pairing is None:
            return offset
        return pairing.side(side)(offset)

    def span(self, target: Target | None, length: int) -> int | None:
        """Length in OUT of the range of `length` bytes that begins at a target."""
        if target is None or not target.section:
            return length
        start = self.move(target.section, target.old, START)
        if length == 0:
            return 0
        end = self.move(target.section, target.old + length, END)
        return None if start is None or end is None else end - start


_SIDES = {START: "where it begins", END: "where it ends", RET: "where the call returns"}


def _show(value: object) -> str:
    if isinstance(value, bytes):
        return value[:24].hex(" ") + (" ..." if len(value) > 24 else "")
    return hex(value) if isinstance(value, int) else str(value)


def _by_place(obj: Object, section: int) -> dict[int, Relocation]:
    return {relocation.place: relocation for relocation in obj.relocations.get(section, ())}


def prelinked(obj: Object, section: Section) -> bytes:
    """The section's bytes with S + A filled in where a relocation defined in the object says so.

    Code addresses come out as offsets in their section, offsets into other debug sections as what
    they are. PC-relative fields stay as they are.
    """
    data = bytearray(section.data)
    for relocation in obj.relocations.get(section.number, ()):
        width = DATA_WIDTH.get(relocation.type, 0)
        if not width or relocation.type in (R_PPC64_REL32, R_PPC64_REL64):
            continue
        target, value = obj.target(relocation)
        if target and relocation.place + width <= len(data):
            value &= (1 << 8 * width) - 1
            struct.pack_into("<Q" if width == 8 else "<I", data, relocation.place, value)
    return bytes(data)
