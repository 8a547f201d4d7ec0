""".debug_info and .debug_types: every attribute still says the same about the same code.

Both files are walked in step, unit by unit and entry by entry. What other sections need to know,
which lists belong to which unit and which entries of .debug_addr are return addresses, is collected
on the way (`uses`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nopfix.verifier import abbreviations, entries, unit_headers
from nopfix.verifier.attributes import Attributes
from nopfix.verifier.pairing import Starts
from nopfix.verifier.reader import Malformed, Reader
from nopfix.verifier.unit_headers import DW_UT_skeleton, DW_UT_split_compile
from nopfix.verifier.uses import Reference, Unit, Uses

if TYPE_CHECKING:
    from nopfix.verifier.abbreviations import Abbreviation
    from nopfix.verifier.fields import Fields
    from nopfix.verifier.forms import Format


def check(fields: Fields, declarations: int, uses: Uses) -> Starts:
    """Compare all units of a section.

    `declarations` is the number of the .debug_abbrev of units whose header has no relocation to one
    (there may be several: ld -r --unique); 0 where there is none. Returns where each entry went
    (offset in IN: offset in OUT). Raises Malformed.
    """
    section = fields.section.number
    walk = _Walk(fields, declarations, uses)
    position = new_position = 0
    while position < len(fields.raw) and new_position < len(fields.new_raw):
        position, new_position = walk.unit(position, new_position)
    if position < len(fields.raw) or new_position < len(fields.new_raw):
        fields.differ("unit", position, new_position, "the number of units differs")
    walk.moved.add(len(fields.raw), len(fields.new_raw))
    uses.judge_references(fields, section, walk.references)
    fields.findings.count("reference between entries", len(walk.references))
    return walk.moved


class _Walk:
    """The walk over the units of one section."""

    def __init__(self, fields: Fields, declarations: int, uses: Uses) -> None:
        self.fields = fields
        self.uses = uses
        self.declarations = declarations
        self.tables: dict[tuple[int, int, int, Format], dict[int, Abbreviation]] = {}
        self.same: dict[int, bool] = {}
        """Whether a section of abbreviations is the same in IN and OUT."""
        self.moved = uses.entries.setdefault(fields.section.number, Starts())
        self.references: list[Reference] = []
        self.attributes = Attributes(fields, uses, self.references)

    def unit(self, start: int, new_start: int) -> tuple[int, int]:
        """Compare one unit; returns where it ends in both. Raises Malformed."""
        fields = self.fields
        types = fields.name.startswith(".debug_types")
        header = unit_headers.read(fields.raw, start, types=types)
        new_header = unit_headers.read(fields.new_raw, new_start, types=types)
        self.moved.add(start, new_start)
        if header.fixed != new_header.fixed:
            fields.equal("unit", start, new_start, header.fixed, new_header.fixed)
            raise Malformed(f"unit headers at {start:#x} differ")
        where = fields.relocated(header.abbreviations_at, new_header.abbreviations_at)
        section, offset = self.declarations, header.abbreviations
        new_offset = new_header.abbreviations
        if where is not None:
            section, offset, new_offset = where
        table = self._table(0, section, offset, header.shape)
        if table is not self._table(1, section, new_offset, header.shape):
            fields.differ("unit", start, new_start, "uses another abbreviation table")
            raise Malformed("abbreviations differ")
        unit = Unit(fields.section.number, start, new_start, header.shape)
        unit.is_split = fields.name.endswith(".dwo")
        self.uses.units.append(unit)
        if header.type_offset is not None and new_header.type_offset is not None:
            entry, new_entry = start + header.type_offset, new_start + new_header.type_offset
            self.references.append(Reference(start, new_start, entry, new_entry))
        if header.kind in (DW_UT_skeleton, DW_UT_split_compile) and header.signature is not None:
            self.attributes.skeleton(unit, header.signature)
        a = Reader(fields.raw, header.entries, header.end)
        b = Reader(fields.new_raw, new_header.entries, new_header.end)
        entries.Walk(self.attributes, unit, table, self.moved).run(a, b)
        if (a.position, b.position) != (header.end, new_header.end):
            raise Malformed(f"unit at {start:#x} does not end where its length says")
        fields.findings.count("unit")
        return header.end, new_header.end

    def _table(
        self, which: int, section: int, offset: int, shape: Format
    ) -> dict[int, Abbreviation]:
        """Abbreviations of IN, or of OUT where `which` is 1; the same where all are the same."""
        checker = self.fields.checker
        both = [obj.sections[section].data for obj in (checker.old, checker.new)]
        if section not in self.same:
            self.same[section] = both[0] == both[1]
        which = 0 if self.same[section] else which
        key = (which, section, offset, shape)
        if key not in self.tables:
            table = abbreviations.read(both[which], offset, shape)
            self.tables[key] = table
            self.uses.skeletons |= any(
                attribute.name in ("DW_AT_dwo_name", "DW_AT_GNU_dwo_name")
                for abbreviation in table.values()
                for attribute in abbreviation.attributes
            )
        return self.tables[key]
