"""The entries of a unit: IN's and OUT's, walked in step.

Nearly all of an entry's bytes are the same in OUT, and most attributes say nothing about code. So:

- a run of entries that are simple (`Abbreviation.simple`) is walked over by the sizes of its
  attributes alone, and compared as one string of bytes;
- of any other entry, whose bytes are equal, only the attributes that may depend on code are read;
- whatever isn't equal is read attribute by attribute, in both.

What relocations fill in bytes that are equal is judged at the end (`Fields.unchanged`): strings
must be the same, and all else leads to where something begins, unless an attribute has said more.
References in equal bytes are looked at only where some entry of the unit changed size, as else all
moved together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nopfix.verifier import expressions, forms
from nopfix.verifier.forms import Value
from nopfix.verifier.reader import Malformed, Reader
from nopfix.verifier.uses import Reference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nopfix.verifier.abbreviations import Abbreviation
    from nopfix.verifier.attributes import Attribute, Attributes
    from nopfix.verifier.fields import Fields, Target
    from nopfix.verifier.pairing import Starts
    from nopfix.verifier.uses import Unit


class Stretch(NamedTuple):
    """Whole entries of IN whose bytes are equal in OUT, `shift` bytes further on."""

    start: int
    end: int
    shift: int


class Walk:
    """The walk over the entries of one unit."""

    def __init__(
        self,
        attributes: Attributes,
        unit: Unit,
        table: Mapping[int, Abbreviation],
        moved: Starts,
    ) -> None:
        """`moved` gets the offset of each entry of the section in IN and in OUT."""
        self.attributes = attributes
        self.fields: Fields = attributes.fields
        self.unit = unit
        self.table = table
        self.moved = moved
        self.depth = 0
        self.scopes: list[tuple[int, Target]] = []
        """The entries around this one that say where their code begins: how deep they are."""
        self.shifts: set[int] = set()
        self.stretches: list[Stretch] = []
        self.constant: set[bytes] = set()
        """Expressions met that have no operand that could change."""

    def run(self, a: Reader, b: Reader) -> None:
        """Compare all entries from where the readers are to their ends. Raises Malformed."""
        count = len(self.moved)
        self._entry(a, b, first=True)
        while not a.done and not b.done:
            stop = self._run(a, b)
            if a.position >= stop:
                stop = a.position + 1
            while a.position < min(stop, a.end_of_data) and not b.done:
                self._entry(a, b)
        for stretch in self.stretches:
            self.fields.unchanged(*stretch)
        if self.shifts != {self.unit.new - self.unit.old}:
            for stretch in self.stretches:
                self._references(stretch)
        self.fields.findings.count("entry", len(self.moved) - count)

    def _equal(self, start: int, end: int, shift: int) -> bool:
        """Whether bytes of IN are in OUT, `shift` bytes further on; notes it where they are."""
        if self.fields.raw[start:end] != self.fields.new_raw[start + shift : end + shift]:
            return False
        self.shifts.add(shift)
        last = self.stretches[-1] if self.stretches else None
        if last and last.end == start and last.shift == shift:
            self.stretches[-1] = last._replace(end=end)
        else:
            self.stretches.append(Stretch(start, end, shift))
        return True

    # Simple entries

    def _run(self, a: Reader, b: Reader) -> int:
        """Walk over simple entries that are equal; returns where they end.

        The readers stay in front of them where they aren't equal.
        """
        start, shift = a.position, b.position - a.position
        found = skip_simple(a.data, start, a.end_of_data, self.table, self.constant)
        end = found.end
        if end > start and self._equal(start, end, shift):
            self.moved.extend(found.starts, shift)
            self.depth += found.depth
            a.position, b.position = end, end + shift
            for abbreviation, places in found.filled:
                self.attributes.simple(abbreviation, places, shift, self.unit)
        return end

    # One entry

    def _entry(self, a: Reader, b: Reader, *, first: bool = False) -> None:
        """Compare one entry and leave both readers behind it."""
        old, new = a.position, b.position
        self.moved.add(old, new)
        self.shifts.add(new - old)
        code, new_code = a.uleb(), b.uleb()
        if code != new_code:
            text = f"abbreviation {code} in IN, {new_code} in OUT"
            self.fields.differ("entry", old, new, text)
            raise Malformed(f"entries at {old:#x} differ")
        if not code:
            self.depth -= 1
            return
        abbreviation = self.table.get(code)
        if abbreviation is None:
            raise Malformed(f"abbreviation {code} of the entry at {old:#x} is not declared")
        values = None if first else self._depending(a, b, old, abbreviation)
        if values is None:
            values = [(s.name, s.read(a), s.read(b)) for s in abbreviation.attributes]
        if first:
            self.attributes.bases(values, self.unit)
        low = None
        if values:
            low = self.attributes.judge(abbreviation.tag, values, self.unit, self._around())
        if abbreviation.children:
            if low is not None:
                self.scopes.append((self.depth, low))
            self.depth += 1

    def _around(self) -> Target | None:
        """Where the code of the closest entry around this one begins that says so."""
        while self.scopes and self.scopes[-1][0] >= self.depth:
            self.scopes.pop()
        return self.scopes[-1][1] if self.scopes else self.unit.base

    def _depending(
        self, a: Reader, b: Reader, start: int, abbreviation: Abbreviation
    ) -> list[Attribute] | None:
        """The attributes of an entry that may depend on code, where its bytes are equal.

        None, with the readers where they were, where they aren't.
        """
        behind, shift = a.position, b.position - a.position
        values: list[Attribute] = []
        data, at, shape = a.data, behind, self.unit.shape
        for skipped, spec, _ in abbreviation.steps:
            a.position = forms.skip(data, at, skipped) if skipped else at
            value = spec.read(a)
            at = a.position
            if spec.form == "DW_FORM_exprloc" and not expressions.parse(value.raw, shape).operands:
                self.constant.add(value.raw)
                continue
            other = Value(value.form, value.raw, value.place + shift)
            values.append((spec.name, value, other))
        end = forms.skip(data, at, abbreviation.rest)
        if not self._equal(start, end, shift):
            a.position = behind
            return None
        a.position, b.position = end, end + shift
        return values

    def _references(self, stretch: Stretch) -> None:
        """The references of entries whose bytes are equal."""
        reader = Reader(self.fields.raw, stretch.start, stretch.end)
        while not reader.done:
            abbreviation = self.table.get(reader.uleb())
            for spec in abbreviation.attributes if abbreviation else ():
                value = spec.read(reader)
                if value.form in forms.UNIT_REFERENCES:
                    there, new = self.unit.old + value.raw, self.unit.new + value.raw
                    places = value.place, value.place + stretch.shift
                    self.attributes.references.append(Reference(*places, there, new))


class Simple(NamedTuple):
    """A run of simple entries."""

    starts: list[int]
    """Where each begins."""
    end: int
    depth: int
    """By how much it grew."""
    filled: list[tuple[Abbreviation, list[int]]]
    """Entries with addresses or offsets into other sections, and where in it these are."""


def skip_simple(
    data: bytes, at: int, end: int, table: Mapping[int, Abbreviation], constant: set[bytes]
) -> Simple:
    """Walk over simple entries all of whose expressions are `constant`, no further than `end`.

    Dense, as nine of ten entries of a kernel's object are met here and nowhere else.
    """
    starts: list[int] = []
    filled: list[tuple[Abbreviation, list[int]]] = []
    depth = 0
    try:
        while at < end:
            code = data[at]
            behind = at + 1
            if code > 0x7F:
                code = code & 0x7F | data[behind] << 7
                behind += 1
                if code > 0x3FFF:
                    break
            if not code:
                starts.append(at)
                at = behind
                depth -= 1
                continue
            abbreviation = table.get(code)
            if abbreviation is None:
                break
            if abbreviation.steps:
                behind = _behind_steps(data, behind, abbreviation, constant, filled)
                if not behind:
                    break
            starts.append(at)
            size = abbreviation.size
            at = behind + size if size >= 0 else forms.skip(data, behind, abbreviation.rest)
            depth += abbreviation.children
    except (IndexError, ValueError):
        raise Malformed(f"the entry at {starts[-1] if starts else at:#x} is cut short") from None
    return Simple(starts, at, depth, filled)


def _behind_steps(
    data: bytes,
    at: int,
    abbreviation: Abbreviation,
    constant: set[bytes],
    filled: list[tuple[Abbreviation, list[int]]],
) -> int:
    """Where the attributes end that may depend on code; 0 where one of them has to be read."""
    if not abbreviation.simple:
        return 0
    places: list[int] = []
    for skipped, _, size in abbreviation.steps:
        if skipped:
            at = forms.skip(data, at, skipped)
        if size:
            places.append(at)
            at += size
        else:
            length = data[at]
            if length > 0x7F or data[at + 1 : at + 1 + length] not in constant:
                return 0
            at += 1 + length
    if places:
        filled.append((abbreviation, places))
    return at
