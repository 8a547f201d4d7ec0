""".debug_info and .debug_types: every attribute still says the same about the same code.

Unit headers and abbreviations come from pyelftools, attribute values from `forms`. Both files are
walked in step, entry by entry. What an attribute may change by:

- addresses and constants that stand for addresses follow the code, each on its side: starts, ends
  (DW_AT_high_pc), return addresses (DW_AT_call_return_pc; DW_AT_low_pc of DW_TAG_GNU_call_site);
- references between entries follow the entries, which move when one before them changes size;
- offsets into other debug sections follow those.

Whatever else an attribute holds is equal. What other sections need to know, which lists belong to
which unit and which entries of .debug_addr are return addresses, is collected on the way.
"""

from __future__ import annotations

import bisect
import io
from typing import TYPE_CHECKING, Any, NamedTuple

from elftools.common.exceptions import DWARFError, ELFError
from elftools.construct import ConstructError
from elftools.dwarf.structs import DWARFStructs

from nopfix.verifier import abbreviations, expressions, forms
from nopfix.verifier.abbreviations import AFTER_LOW_PC, Abbreviation
from nopfix.verifier.fields import Fields, Malformed, Reader, Target
from nopfix.verifier.forms import Format, Value
from nopfix.verifier.pairing import END, RET, START

if TYPE_CHECKING:
    from nopfix.verifier.elf import Object, Relocation

_LOCATIONS = frozenset(
    {
        "DW_AT_location",
        "DW_AT_string_length",
        "DW_AT_return_addr",
        "DW_AT_data_member_location",
        "DW_AT_frame_base",
        "DW_AT_segment",
        "DW_AT_static_link",
        "DW_AT_use_location",
        "DW_AT_vtable_elem_location",
        "DW_AT_GNU_call_site_value",
        "DW_AT_GNU_call_site_data_value",
        "DW_AT_GNU_call_site_target",
        "DW_AT_GNU_call_site_target_clobbered",
        "DW_AT_call_value",
        "DW_AT_call_data_value",
        "DW_AT_call_data_location",
        "DW_AT_call_target",
        "DW_AT_call_target_clobbered",
        "DW_AT_lower_bound",
        "DW_AT_upper_bound",
        "DW_AT_byte_size",
        "DW_AT_bit_size",
        "DW_AT_byte_stride",
        "DW_AT_bit_stride",
        "DW_AT_count",
        "DW_AT_allocated",
        "DW_AT_associated",
        "DW_AT_data_location",
        "DW_AT_rank",
    }
)
"""Attributes whose blocks are expressions in DWARF 2 and 3 (DWARF 5 has DW_FORM_exprloc)."""

_BASES = frozenset({"DW_AT_loclists_base", "DW_AT_rnglists_base", "DW_AT_GNU_ranges_base"})
"""Attributes that refer to a table of lists and not to a list."""

_CALL_SITES = frozenset({"DW_TAG_GNU_call_site", "DW_TAG_call_site"})


class Unit:
    """What lists and other sections need to know of a unit."""

    def __init__(self, section: int, old: int, new: int, shape: Format, kind: str) -> None:
        """A unit at `old` in IN and `new` in OUT of a section."""
        self.section = section
        self.old = old
        self.new = new
        self.shape = shape
        self.kind = kind
        self.base: Target | None = None
        """DW_AT_low_pc of the unit entry."""
        self.address_base: tuple[int, int] | None = None
        """Section and offset of the unit's part of .debug_addr in IN."""
        self.new_address_base: tuple[int, int] | None = None
        """The same in OUT."""
        self.bases: dict[str, tuple[int, int]] = {}
        """Section and offset of DW_AT_loclists_base and DW_AT_rnglists_base."""


class ListUse(NamedTuple):
    """An attribute refers to a list, a table of views, or the like."""

    old: int
    new: int
    unit: Unit


class Uses:
    """What the units of all sections refer to in other sections."""

    def __init__(self) -> None:
        """Nothing met yet."""
        self.lists: dict[int, dict[int, ListUse]] = {}
        """By section: lists of locations and ranges, by their offset in IN."""
        self.views: dict[int, dict[int, int]] = {}
        """By section: offset of a table of views in IN: offset of the list that it is about."""
        self.indexed: dict[str, list[tuple[Unit, int]]] = {"loc": [], "rng": []}
        """Lists used by index: (unit, index)."""
        self.addresses: set[tuple[int, int]] = set()
        """(section, offset) of the entries of .debug_addr that are used in IN."""
        self.new_addresses: set[tuple[int, int]] = set()
        """The same for OUT. What these lead to has been checked."""
        self.entries: dict[int, dict[int, int]] = {}
        """By section: offset of each entry and unit in IN: offset in OUT."""
        self.range_bases: dict[int, dict[int, Unit]] = {}
        """By section: where the lists begin that only the .dwo of a unit names (GNU's split
        DWARF 4, DW_AT_GNU_ranges_base)."""
        self.units: list[Unit] = []
        self.skeletons = False
        """Whether some unit names a .dwo, which may use what nothing here does."""
        self._address_tables: dict[tuple[int, int], dict[int, Relocation]] = {}

    def address_table(self, obj: Object, section: int, which: int) -> dict[int, Relocation]:
        """The relocations of a .debug_addr by place; `which` is 0 for IN, 1 for OUT."""
        if (section, which) not in self._address_tables:
            self._address_tables[section, which] = {
                relocation.place: relocation for relocation in obj.relocations.get(section, ())
            }
        return self._address_tables[section, which]


def check(fields: Fields, old: bytes, new: bytes, uses: Uses) -> None:
    """Compare all units of a .debug_info or .debug_types section; `old` and `new` are IN's and
    OUT's .debug_abbrev.
    """
    walk = _Walk(fields, old, new, uses)
    a = Reader(fields.old, 0, len(fields.old))
    b = Reader(fields.new, 0, len(fields.new))
    while not a.done and not b.done:
        walk.unit(a, b)
    if not (a.done and b.done):
        fields.differ("unit", a.position, b.position, "the number of units differs")
    walk.entries[len(fields.old)] = len(fields.new)
    walk.judge_references()


class _Walk:
    def __init__(self, fields: Fields, old: bytes, new: bytes, uses: Uses) -> None:
        self.fields = fields
        self.uses = uses
        self.abbreviations = (old, new)
        self.tables: dict[tuple[int, int, Format], dict[int, Abbreviation]] = {}
        self.entries = uses.entries.setdefault(fields.section.number, {})
        self.references: list[tuple[int, int, int, int]] = []
        """(place, new place, entry referred to in IN, in OUT)"""
        self.places = sorted(fields.old_relocations)
        self.new_places = sorted(fields.new_relocations)
        counterpart = fields.checker.new.sections[fields.section.number]
        self.bytes = (fields.section.data, counterpart.data)
        """What is in the sections themselves, under the relocations."""
        self.cursor = self.new_cursor = 0
        """Numbers of the first relocations that aren't in front of where the walk is."""
        self.deferred: list[tuple[int, int, Abbreviation]] = []
        """Entries of the unit with references, whose bytes are equal: where, moved by how much."""
        self.entries_shift: set[int] = set()
        """By how much the unit's entries moved."""

    # Units

    def unit(self, a: Reader, b: Reader) -> None:
        """Compare one unit and leave both readers behind it."""
        start, new_start = a.position, b.position
        header, new_header = self._header(a, start), self._header(b, new_start)
        self.entries[start] = new_start
        if header.fixed != new_header.fixed:
            self.fields.equal("unit", start, new_start, header.fixed, new_header.fixed)
            raise Malformed(f"unit headers at {start:#x} differ")
        for place, new_place in zip(header.places, new_header.places, strict=True):
            self.fields.relocated(place, new_place)
        table = self._table(0, header)
        if table is not self._table(1, new_header) and not self._same_table(header, new_header):
            self.fields.differ("unit", start, new_start, "uses another abbreviation table")
            raise Malformed("abbreviations differ")
        unit = Unit(self.fields.section.number, start, new_start, header.shape, header.kind)
        self.uses.units.append(unit)
        if header.type_offset is not None and new_header.type_offset is not None:
            self.references.append(
                (start, new_start, start + header.type_offset, new_start + new_header.type_offset)
            )
        a.end_of_data, b.end_of_data = header.end, new_header.end
        self._entries(a, b, unit, table)
        a.end_of_data, b.end_of_data = len(self.fields.old), len(self.fields.new)
        if b.position != new_header.end or a.position != header.end:
            raise Malformed(f"unit at {start:#x} does not end where its length says")
        self.fields.findings.count("unit")

    def _header(self, reader: Reader, start: int) -> _Header:
        length, size = reader.initial_length()
        end = reader.position + length
        structs = DWARFStructs(
            little_endian=True, dwarf_format=size * 8, address_size=8, dwarf_version=4
        )
        old_types = self.fields.name == ".debug_types"
        layout = structs.Dwarf_TU_header if old_types else structs.Dwarf_CU_header
        stream = io.BytesIO(reader.data)
        stream.seek(start)
        try:
            header: Any = layout.parse_stream(stream)
        except (ConstructError, DWARFError, ELFError, KeyError) as error:
            raise Malformed(f"unit header at {start:#x}: {error}") from None
        if end > len(reader.data):
            raise Malformed(f"unit at {start:#x} is longer than the section")
        version = header["version"]
        if not 2 <= version <= 5:
            raise Malformed(f"unit at {start:#x}: version {version}")
        reader.position = stream.tell()
        # Version 5 put the address size before the offset of the abbreviations.
        at = start + (12 if size == 8 else 4) + 2 + (2 if version >= 5 else 0)
        kind = str(header.get("unit_type", "DW_UT_type" if old_types else "DW_UT_compile"))
        signature = header.get("signature", header.get("type_signature", header.get("dwo_id")))
        shape = Format(version, size, header["address_size"])
        offset = header["debug_abbrev_offset"]
        type_offset = header.get("type_offset")
        fixed = (shape, kind, signature, offset)
        return _Header(end, shape, kind, offset, type_offset, fixed, (at,))

    def _same_table(self, header: _Header, new_header: _Header) -> bool:
        return (
            self.abbreviations[0] == self.abbreviations[1]
            and header.abbreviations == new_header.abbreviations
        )

    def _table(self, which: int, header: _Header) -> dict[int, Abbreviation]:
        if which and self.abbreviations[0] == self.abbreviations[1]:
            which = 0
        key = (which, header.abbreviations, header.shape)
        if key not in self.tables:
            self.tables[key] = abbreviations.read(
                self.abbreviations[which], header.abbreviations, header.shape
            )
            self.uses.skeletons |= any(
                attribute.name in ("DW_AT_dwo_name", "DW_AT_GNU_dwo_name")
                for abbreviation in self.tables[key].values()
                for attribute in abbreviation.attributes
            )
        return self.tables[key]

    # Entries

    def _entries(self, a: Reader, b: Reader, unit: Unit, table: dict[int, Abbreviation]) -> None:
        entries = self.entries
        first = True
        count = 0
        scopes: list[Target | None] = []
        """Where the code of each entry around this one begins; None where an entry doesn't say."""
        shifts: set[int] = set()
        while not a.done and not b.done:
            old, new = a.position, b.position
            entries[old] = new
            shifts.add(new - old)
            code, new_code = a.uleb(), b.uleb()
            if code != new_code:
                self.fields.differ(
                    "entry", old, new, f"abbreviation {code} in IN, {new_code} in OUT"
                )
                raise Malformed(f"entries at {old:#x} differ")
            if not code:
                del scopes[-1:]
                continue
            abbreviation = table.get(code)
            if abbreviation is None:
                raise Malformed(f"abbreviation {code} of the entry at {old:#x} is not declared")
            values = None if first else self._equal_bytes(a, b, unit, abbreviation)
            if values is None:
                values = [(s.name, s.read(a), s.read(b)) for s in abbreviation.attributes]
            if first:
                self._bases(values, unit)
                first = False
            low = self._entry(abbreviation.tag, values, unit, scopes)
            if abbreviation.children:
                scopes.append(low)
            count += 1
        self.fields.findings.count("entry", count)
        self.entries_shift = shifts
        self._judge_deferred(unit)

    def _equal_bytes(
        self, a: Reader, b: Reader, unit: Unit, abbreviation: Abbreviation
    ) -> list[tuple[str | int, Value, Value]] | None:
        """The attributes of an entry that may depend on code, where its bytes are equal.

        None, with the readers where they were, where they aren't, or where a relocation isn't that
        of a string or of such an attribute.
        """
        fields, start, shift = self.fields, a.position, b.position - a.position
        data, at = fields.old, a.position
        values: list[tuple[str | int, Value, Value]] = []
        for skipped, spec in abbreviation.steps:
            a.position = forms.skip(data, at, skipped)
            value = spec.read(a)
            values.append((spec.name, value, value._replace(place=value.place + shift)))
            at = a.position
        end = forms.skip(data, at, abbreviation.rest)
        same = (
            data[start:end] == fields.new[start + shift : end + shift]
            and self.bytes[0][start:end] == self.bytes[1][start + shift : end + shift]
        )
        if not same or not self._strings(start, end, shift, values, abbreviation.strings):
            a.position = start
            return None
        if abbreviation.refers:
            self.deferred.append((start, shift, abbreviation))
        a.position, b.position = end, end + shift
        return [found for found in values if not self._is_constant(found[1], unit)]

    def _strings(
        self,
        start: int,
        end: int,
        shift: int,
        values: list[tuple[str | int, Value, Value]],
        strings: int,
    ) -> bool:
        """Whether the relocations of an entry are at the same places, and all but those of
        `values` can be the entry's strings'.  Those are noted.
        """
        places, new_places = self.places, self.new_places
        first, new_first = self.cursor, self.new_cursor
        while first < len(places) and places[first] < start:
            first += 1
        while new_first < len(new_places) and new_places[new_first] < start + shift:
            new_first += 1
        last = first
        while last < len(places) and places[last] < end:
            last += 1
        self.cursor, self.new_cursor = last, new_first + last - first
        inside = places[first:last]
        if [place + shift for place in inside] != new_places[new_first : self.new_cursor] or (
            self.new_cursor < len(new_places) and new_places[self.new_cursor] < end + shift
        ):
            self.cursor, self.new_cursor = first, new_first
            return False
        if values and inside:
            known = [
                (value.place, len(value.raw) if isinstance(value.raw, bytes) else 1)
                for _, value, _ in values
            ]
            inside = [p for p in inside if not any(at <= p < at + size for at, size in known)]
        if len(inside) > strings:
            return False
        self.fields.unchanged(inside, shift)
        return True

    def _is_constant(self, value: Value, unit: Unit) -> bool:
        """Whether a value is an expression without an operand or a relocation that can change."""
        if value.form != "DW_FORM_exprloc":
            return False
        shape = unit.shape
        arguments = (shape.offset_size, shape.address_size, shape.version)
        if expressions.parse(value.raw, *arguments).operands:
            return False
        first = bisect.bisect_left(self.places, value.place)
        return first == len(self.places) or self.places[first] >= value.place + len(value.raw)

    def _judge_deferred(self, unit: Unit) -> None:
        """The references of entries whose bytes are equal, where an entry of the unit changed size.

        Where none did, what they refer to moved with them.
        """
        deferred, self.deferred = self.deferred, []
        if self.entries_shift == {unit.new - unit.old}:
            return
        for start, shift, abbreviation in deferred:
            reader = Reader(self.fields.old, start, len(self.fields.old))
            for spec in abbreviation.attributes:
                value = spec.read(reader)
                if spec.form in forms.UNIT_REFERENCES:
                    there, new = unit.old + value.raw, unit.new + value.raw
                    self.references.append((value.place, value.place + shift, there, new))

    def _bases(self, values: list[tuple[str | int, Value, Value]], unit: Unit) -> None:
        """What the unit entry says about the others."""
        by_name = {name: (a, b) for name, a, b in values}
        for name in ("DW_AT_addr_base", "DW_AT_GNU_addr_base"):
            if name in by_name:
                unit.address_base = self._section_offset(by_name[name][0])
                unit.new_address_base = self._section_offset(by_name[name][1], new=True)
        for name in ("DW_AT_loclists_base", "DW_AT_rnglists_base"):
            if name in by_name:
                unit.bases[name] = self._section_offset(by_name[name][0])
        if "DW_AT_low_pc" in by_name:
            unit.base = self._address(*by_name["DW_AT_low_pc"], unit, START)

    def _section_offset(self, value: Value, *, new: bool = False) -> tuple[int, int]:
        """Section and offset that a value leads to; section 0 where no relocation says which."""
        relocations = self.fields.new_relocations if new else self.fields.old_relocations
        relocation = relocations.get(value.place)
        if relocation is None:
            return 0, value.raw if isinstance(value.raw, int) else 0
        checker = self.fields.checker
        return (checker.new if new else checker.old).target(relocation)

    def _address(self, a: Value, b: Value, unit: Unit, side: str) -> Target | None:
        """Where an address leads, given directly or by index."""
        if a.form in forms.ADDRESS_INDICES:
            return indexed_address(self.fields, self.uses, unit, a.raw, b.raw, a.place, side)
        found = self.fields.relocated(a.place, b.place, side)
        if found is None and a.raw != b.raw:
            self.fields.equal("address", a.place, b.place, a.raw, b.raw)
        return found

    def _entry(
        self,
        tag: str,
        values: list[tuple[str | int, Value, Value]],
        unit: Unit,
        scopes: list[Target | None],
    ) -> Target | None:
        """Compare an entry's attributes. Returns where its code begins, if it says that."""
        low: Target | None = None
        low_known = False
        late: list[tuple[str | int, Value, Value]] = []
        for name, a, b in values:
            form = a.form
            if form != b.form:
                self.fields.differ("attribute", a.place, b.place, f"{name}: form {b.form} in OUT")
                continue
            if form in forms.UNIT_REFERENCES:
                self.references.append((a.place, b.place, unit.old + a.raw, unit.new + b.raw))
            elif name in AFTER_LOW_PC:
                late.append((name, a, b))
            elif form == "DW_FORM_addr" or form in forms.ADDRESS_INDICES:
                side = START
                if name == "DW_AT_call_return_pc" or (
                    name == "DW_AT_low_pc" and tag in _CALL_SITES
                ):
                    side = RET
                found = self._address(a, b, unit, side)
                if name == "DW_AT_low_pc":
                    low, low_known = found, True
            elif isinstance(a.raw, bytes):
                self._bytes(name, a, b, unit)
            else:
                self._number(name, a, b, unit, values)
        for name, a, b in late:
            if name == "DW_AT_high_pc":
                self._high_pc(a, b, unit, low)
            elif name == "DW_AT_entry_pc":
                self._distance(name, a, b, unit, low if low_known else unit.base)
            elif a.form in forms.CONSTANTS:
                # Of the entry itself, or of the closest around it (DWARF 4, 2.20).
                around = next((scope for scope in reversed(scopes) if scope), unit.base)
                self._distance(name, a, b, unit, low if low_known else around)
            else:
                self._number(name, a, b, unit, values)
        return low

    def _equal(self, name: str | int, a: Value, b: Value) -> None:
        if a.raw != b.raw:
            self.fields.equal(f"attribute {name}", a.place, b.place, a.raw, b.raw)

    def _high_pc(self, a: Value, b: Value, unit: Unit, low: Target | None) -> None:
        if a.form not in forms.CONSTANTS:
            self._address(a, b, unit, END)
            return
        expected = self.fields.span(low, a.raw)
        if expected != b.raw:
            self.fields.differ(
                "high_pc",
                a.place,
                b.place,
                f"DW_AT_high_pc says {a.raw:#x} bytes in IN, so {_hex(expected)} in OUT, but"
                f" {b.raw:#x}",
            )

    def _distance(
        self, name: str | int, a: Value, b: Value, unit: Unit, base: Target | None
    ) -> None:
        """An address, or a distance from the entry's base address (DWARF 5, 2.18)."""
        if a.form not in forms.CONSTANTS:
            self._address(a, b, unit, START)
            return
        expected: int | None = a.raw
        if base is not None and base.section and expected is not None:
            start = self.fields.move(base.section, base.old, START)
            there = self.fields.move(base.section, base.old + expected, START)
            expected = None if start is None or there is None else there - start
        if expected != b.raw:
            self.fields.differ(
                "distance",
                a.place,
                b.place,
                f"{name} is {a.raw:#x} in IN, so {_hex(expected)} in OUT, but {b.raw:#x}",
            )

    def _number(
        self,
        name: str | int,
        a: Value,
        b: Value,
        unit: Unit,
        values: list[tuple[str | int, Value, Value]],
    ) -> None:
        """A number: a reference into some section, an index, or a plain constant."""
        found = self.fields.relocated(a.place, b.place) if a.place >= 0 else None
        if found is not None:
            self._section_use(name, found, unit, values)
            return
        if a.form == "DW_FORM_loclistx":
            self.uses.indexed["loc"].append((unit, a.raw))
        elif a.form == "DW_FORM_rnglistx":
            self.uses.indexed["rng"].append((unit, a.raw))
        elif a.form == "DW_FORM_ref_addr":
            self.references.append((a.place, b.place, a.raw, b.raw))
            return
        elif a.form == "DW_FORM_sec_offset" and a.raw != b.raw:
            self.fields.differ(
                f"attribute {name}",
                a.place,
                b.place,
                "an offset into another section changed, and no relocation says which section",
            )
            return
        self._equal(name, a, b)

    def _section_use(
        self,
        name: str | int,
        target: Target,
        unit: Unit,
        values: list[tuple[str | int, Value, Value]],
    ) -> None:
        """Note which list an attribute refers to."""
        section = self.fields.checker.old.sections[target.section].name
        if name == "DW_AT_GNU_ranges_base":
            self.uses.range_bases.setdefault(target.section, {})[target.old] = unit
        if not section.startswith((".debug_loc", ".debug_r")) or name in _BASES:
            return
        if name == "DW_AT_GNU_locviews":
            for other, a, _ in values:
                if other in _LOCATIONS and self.fields.old_relocations.get(a.place):
                    where = self.fields.checker.old.target(self.fields.old_relocations[a.place])
                    if where[0] == target.section:
                        self.uses.views.setdefault(target.section, {})[target.old] = where[1]
            return
        use = ListUse(target.old, target.new, unit)
        self.uses.lists.setdefault(target.section, {})[target.old] = use

    def _bytes(self, name: str | int, a: Value, b: Value, unit: Unit) -> None:
        """A block, string or expression."""
        place, new_place = a.place, b.place
        assert isinstance(a.raw, bytes)
        assert isinstance(b.raw, bytes)
        expression = a.form == "DW_FORM_exprloc" or (
            unit.shape.version < 4 and a.form.startswith("DW_FORM_block") and name in _LOCATIONS
        )
        if expression:
            self.expression(a.raw, place, b.raw, new_place, unit)
        elif a.raw != b.raw:
            self._equal(name, a, b)
        elif a.form.startswith("DW_FORM_block"):
            relocations_inside(
                self.fields, self.places, self.new_places, place, new_place, len(a.raw), len(b.raw)
            )

    def expression(self, old: bytes, place: int, new: bytes, new_place: int, unit: Unit) -> None:
        """Compare two expressions."""
        relocations_inside(
            self.fields, self.places, self.new_places, place, new_place, len(old), len(new)
        )
        self.references += compare_expressions(
            self.fields, self.uses, old, place, new, new_place, unit
        )

    def judge_references(self) -> None:
        """References between entries lead to the counterpart of the entry referred to."""
        entries = self.entries
        wrong = 0
        for place, new_place, old, new in self.references:
            if entries.get(old) != new:
                wrong += 1
                self.fields.differ(
                    "reference",
                    place,
                    new_place,
                    f"refers to the entry at {old:#x} in IN, so {_hex(entries.get(old))} in OUT,"
                    f" but {new:#x}",
                )
        self.fields.findings.count("reference between entries", len(self.references))


class _Header(NamedTuple):
    end: int
    shape: Format
    kind: str
    abbreviations: int
    type_offset: int | None
    fixed: tuple[object, ...]
    """What must be equal in IN and OUT."""
    places: tuple[int, ...]
    """Fields that may have a relocation."""


def _hex(value: int | None) -> str:
    return "nowhere" if value is None else f"{value:#x}"


def indexed_address(
    fields: Fields, uses: Uses, unit: Unit, index: int, new_index: int, place: int, side: str
) -> Target | None:
    """The target of entry `index` of the unit's part of .debug_addr.

    The entry of OUT that `new_index` names must lead where the target went. It need not have the
    same number: an address that is both a return address and the start of something is one entry
    in IN, and two in OUT. `place` is the offset of the index in IN's section, for messages.
    """
    if unit.address_base is None or unit.new_address_base is None:
        if index != new_index:
            fields.differ("address-index", place, None, f"{index} in IN, {new_index} in OUT")
        return None
    section, base = unit.address_base
    size = unit.shape.address_size
    at, new_at = base + index * size, unit.new_address_base[1] + new_index * size
    before = uses.address_table(fields.checker.old, section, 0).get(at)
    after = uses.address_table(fields.checker.new, section, 1).get(new_at)
    uses.addresses.add((section, at))
    uses.new_addresses.add((section, new_at))
    if before is None or after is None:
        if index != new_index or before is not after:
            fields.differ("address-index", place, None, f"{index} in IN, {new_index} in OUT")
        return None
    target, old = fields.checker.old.target(before)
    new_target, new = fields.checker.new.target(after)
    expected = fields.move(target, old, side)
    if target != new_target or expected != new:
        fields.differ(
            "address-index",
            place,
            None,
            f"address {index} of .debug_addr leads to {old:#x} in IN, so to {_hex(expected)} in OUT"
            f" ({side}), but address {new_index} of OUT leads to {new:#x}",
        )
    return Target(target, old, new)


def relocations_inside(
    fields: Fields,
    places: list[int],
    new_places: list[int],
    place: int,
    new_place: int,
    size: int,
    new_size: int,
) -> None:
    """Relocations inside a block of bytes: addresses in an expression, for instance."""
    first = bisect.bisect_left(places, place)
    new_first = bisect.bisect_left(new_places, new_place)
    if (first == len(places) or places[first] >= place + size) and (
        new_first == len(new_places) or new_places[new_first] >= new_place + new_size
    ):
        return
    inside = places[first : bisect.bisect_left(places, place + size)]
    new_inside = new_places[new_first : bisect.bisect_left(new_places, new_place + new_size)]
    if len(inside) != len(new_inside):
        fields.differ("expression", place, new_place, "its relocations differ in number")
    for a, b in zip(inside, new_inside, strict=False):
        fields.relocated(a, b, START)


def compare_expressions(
    fields: Fields,
    uses: Uses,
    old: bytes,
    place: int,
    new: bytes,
    new_place: int,
    unit: Unit,
) -> list[tuple[int, int, int, int]]:
    """Compare two expressions; returns their references to entries, for `judge_references`."""
    shape = unit.shape
    arguments = (shape.offset_size, shape.address_size, shape.version)
    a = expressions.parse(old, *arguments)
    if old == new and not a.operands:
        return []
    b = expressions.parse(new, *arguments)
    if a.constant != b.constant or [o.kind for o in a.operands] != [o.kind for o in b.operands]:
        fields.differ("expression", place, new_place, f"{old.hex(' ')} became {new.hex(' ')}")
        return []
    references = []
    for x, y in zip(a.operands, b.operands, strict=True):
        at, new_at = place + x.offset, new_place + y.offset
        if x.kind == expressions.UNIT_DIE and (x.value or y.value):
            references.append((at, new_at, unit.old + x.value, unit.new + y.value))
        elif x.kind == expressions.SECTION_DIE:
            if at not in fields.old_relocations:
                references.append((at, new_at, x.value, y.value))
        elif x.kind == expressions.INDEX:
            indexed_address(fields, uses, unit, x.value, y.value, at, START)
        elif at not in fields.old_relocations:
            fields.equal("expression", at, new_at, x.value, y.value)
    return references
