"""What an attribute says of code, and whether it says the same of OUT's.

What an attribute may change by:

- addresses and constants that stand for addresses follow the code, each on its side: starts, ends
  (DW_AT_high_pc), return addresses (DW_AT_call_return_pc; DW_AT_low_pc of DW_TAG_GNU_call_site);
- references between entries follow the entries, which move when one before them changes size;
- offsets into other debug sections follow those.

Whatever else an attribute holds is equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nopfix.verifier import forms
from nopfix.verifier.abbreviations import AFTER_LOW_PC
from nopfix.verifier.encodings import attribute_name
from nopfix.verifier.fields import Block, Fields, Target, shown
from nopfix.verifier.forms import Value
from nopfix.verifier.operands import compare_expressions
from nopfix.verifier.pairing import END, RET, START
from nopfix.verifier.uses import ListUse, Reference, Unit, Uses, ViewUse, indexed_address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nopfix.verifier.abbreviations import Abbreviation

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

_TABLES = frozenset({"DW_AT_loclists_base", "DW_AT_rnglists_base", "DW_AT_GNU_ranges_base"})
"""Attributes that refer to a table of lists and not to a list."""

_CALL_SITES = frozenset({"DW_TAG_GNU_call_site", "DW_TAG_call_site"})

Attribute = tuple[str | int, Value, Value]
"""Name (a number where it has none), value in IN, value in OUT."""


class Attributes:
    """The attributes of the entries of one section."""

    def __init__(self, fields: Fields, uses: Uses, references: list[Reference]) -> None:
        """`references`: where references to entries of the section are noted, to be judged when
        it is known where all entries went.
        """
        self.fields = fields
        self.uses = uses
        self.references = references

    def bases(self, values: list[Attribute], unit: Unit) -> None:
        """What the unit entry says about the others."""
        by_name = {name: (a, b) for name, a, b in values}
        for name in ("DW_AT_addr_base", "DW_AT_GNU_addr_base"):
            if name in by_name:
                unit.address_base = self._section_offset(by_name[name][0])
                unit.new_address_base = self._section_offset(by_name[name][1], new=True)
        for name in ("DW_AT_loclists_base", "DW_AT_rnglists_base"):
            if name in by_name:
                unit.bases[name] = self._section_offset(by_name[name][0])
        if "DW_AT_GNU_ranges_base" in by_name:
            unit.bases["DW_AT_GNU_ranges_base"] = self._section_offset(
                by_name["DW_AT_GNU_ranges_base"][0]
            )
        if "DW_AT_low_pc" in by_name:
            unit.base = self._address(*by_name["DW_AT_low_pc"], unit, START)
        if "DW_AT_GNU_dwo_id" in by_name:
            self.skeleton(unit, by_name["DW_AT_GNU_dwo_id"][0].raw)

    def skeleton(self, unit: Unit, identity: int) -> None:
        """A skeleton, or the split unit that belongs to it, by the id that both have.

        The split unit has what the skeleton says of addresses and of ranges (DWARF 5, 3.1.3; for
        GNU's scheme before version 5 GCC's wiki, "DebugFission"). It names no base of its lists,
        which is behind the header of their only contribution (DWARF 5, 7.28, 7.29).
        """
        if not unit.is_split:
            self.uses.by_id[identity] = unit
            return
        own = self.uses.by_id.get(identity)
        if own is None:
            return
        self.uses.split[identity] = unit
        unit.base, unit.address_base = own.base, own.address_base
        unit.new_address_base, unit.bases = own.new_address_base, dict(own.bases)
        behind_header = 12 if unit.shape.offset_size == 4 else 20
        for base in ("DW_AT_loclists_base", "DW_AT_rnglists_base"):
            name = base.replace("DW_AT_", ".debug_").replace("_base", ".dwo")
            if name in self.fields.checker.named:
                unit.bases[base] = self.fields.checker.named[name], behind_header

    def _section_offset(self, value: Value, *, new: bool = False) -> tuple[int, int]:
        """Section and offset that a value leads to; section 0 where no relocation says which."""
        relocations = self.fields.new_relocations if new else self.fields.old_relocations
        relocation = relocations.get(value.place)
        if relocation is None:
            return 0, value.raw if isinstance(value.raw, int) else 0
        checker = self.fields.checker
        return (checker.new if new else checker.old).target(relocation)

    def judge(
        self, tag: str, values: list[Attribute], unit: Unit, around: Target | None
    ) -> Target | None:
        """Compare an entry's attributes. Returns where its code begins, if it says that.

        `around` is where the code of the closest entry around it begins that says it.
        """
        low: Target | None = None
        known = False
        for name, a, b in values:
            if a.form != b.form:
                text = f"{attribute_name(name)}: form {b.form} in OUT"
                self.fields.differ("attribute", a.place, b.place, text)
            elif a.form == "DW_FORM_addr" or a.form in forms.ADDRESS_INDICES:
                if name in AFTER_LOW_PC:
                    continue
                call_site = name == "DW_AT_low_pc" and tag in _CALL_SITES
                returns = call_site or name == "DW_AT_call_return_pc"
                found = self._address(a, b, unit, RET if returns else START)
                if name == "DW_AT_low_pc":
                    low, known = found, True
            elif name not in AFTER_LOW_PC:
                self._other(name, a, b, unit, values)
        for name, a, b in values:
            if name not in AFTER_LOW_PC or a.form != b.form:
                continue
            if name == "DW_AT_high_pc":
                self._high_pc(a, b, unit, low)
            elif a.form in forms.CONSTANTS:
                # DW_AT_entry_pc: of the entry itself, or of the unit (DWARF 5, 2.18);
                # DW_AT_start_scope: or of the closest entry around it (DWARF 4, 2.20).
                outer = unit.base if name == "DW_AT_entry_pc" else around
                self._distance(name, a, b, low if known else outer)
            elif name == "DW_AT_entry_pc":
                self._address(a, b, unit, START)
            else:
                self._other(name, a, b, unit, values)
        return low

    def _other(
        self, name: str | int, a: Value, b: Value, unit: Unit, values: list[Attribute]
    ) -> None:
        """An attribute that is no address, nor a distance from one."""
        if a.form in forms.UNIT_REFERENCES:
            self.references.append(Reference(a.place, b.place, unit.old + a.raw, unit.new + b.raw))
        elif isinstance(a.raw, bytes):
            self._bytes(name, a, b, unit)
        else:
            self._number(name, a, b, unit, values)

    def _address(self, a: Value, b: Value, unit: Unit, side: str) -> Target | None:
        """Where an address leads, given directly or by index."""
        if a.form in forms.ADDRESS_INDICES:
            return indexed_address(self.fields, self.uses, unit, (a.raw, b.raw), a.place, side)
        found = self.fields.relocated(a.place, b.place, side)
        if found is None and a.raw != b.raw:
            self.fields.equal("address", a.place, b.place, a.raw, b.raw)
        return found

    def _equal(self, name: str | int, a: Value, b: Value) -> None:
        if a.raw != b.raw:
            rule = f"attribute {attribute_name(name)}"
            self.fields.equal(rule, a.place, b.place, a.raw, b.raw)

    # Distances

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
                f"DW_AT_high_pc says {a.raw:#x} bytes in IN, so {shown(expected)} in OUT, but"
                f" {b.raw:#x}",
            )

    def _distance(self, name: str | int, a: Value, b: Value, base: Target | None) -> None:
        """A distance from a base address to where something begins."""
        expected = a.raw if base is None else self.fields.distance(base, a.raw, START)
        if expected != b.raw:
            self.fields.differ(
                "distance",
                a.place,
                b.place,
                f"{attribute_name(name)} is {a.raw:#x} in IN, so {shown(expected)} in OUT, but"
                f" {b.raw:#x}",
            )

    # Numbers

    def _number(
        self, name: str | int, a: Value, b: Value, unit: Unit, values: list[Attribute]
    ) -> None:
        """A number: a reference into some section, an index, or a plain constant."""
        found = self.fields.relocated(a.place, b.place) if a.place >= 0 else None
        if found is not None:
            locations = [value.place for other, value, _ in values if other in _LOCATIONS]
            self._section_use(name, found, unit, locations)
            return
        if a.form == "DW_FORM_loclistx":
            self.uses.indexed["loc"].append((unit, a.raw))
        elif a.form == "DW_FORM_rnglistx":
            self.uses.indexed["rng"].append((unit, a.raw))
        elif a.form == "DW_FORM_ref_addr":
            self.references.append(Reference(a.place, b.place, a.raw, b.raw))
            return
        elif a.form == "DW_FORM_sec_offset" and (
            found := self._split_list(name, a.raw, b.raw, unit)
        ):
            self._section_use(name, found, unit, [])
            return
        elif a.form == "DW_FORM_sec_offset" and a.raw != b.raw:
            self.fields.differ(
                f"attribute {attribute_name(name)}",
                a.place,
                b.place,
                "an offset into another section changed, and no relocation says which section",
            )
            return
        self._equal(name, a, b)

    def simple(self, abbreviation: Abbreviation, places: list[int], shift: int, unit: Unit) -> None:
        """The addresses and the offsets into other sections of a simple entry whose bytes are equal
        in OUT, `shift` bytes further on.

        `places` in IN. Relocations that lead to where something begins are judged by
        `Fields.unchanged`; here is noted what they say besides.
        """
        locations: list[int] = []
        for place, (name, form, _) in zip(places, abbreviation.filled, strict=True):
            if form == "DW_FORM_addr":
                if name == "DW_AT_call_return_pc":
                    self.fields.relocated(place, place + shift, RET)
                continue
            if name in _LOCATIONS:
                locations.append(place)
            found = self.fields.target(place, place + shift)
            if found is None and unit.is_split:
                raw = int.from_bytes(
                    self.fields.raw[place : place + unit.shape.offset_size], "little"
                )
                found = self._split_list(name, raw, raw, unit)
            if found is not None:
                self._section_use(name, found, unit, locations)

    def _section_use(
        self, name: str | int, target: Target, unit: Unit, locations: list[int]
    ) -> None:
        """Note which list an attribute refers to.

        `locations`: where the values of the entry's attributes are that may refer to the list that
        a table of views is about.
        """
        if name == "DW_AT_GNU_ranges_base":
            self.uses.range_bases.setdefault(target.section, {})[target.old] = unit
        if target.section not in self.fields.checker.lists or name in _TABLES:
            return
        if name == "DW_AT_GNU_locviews":
            views = self.uses.views.setdefault(target.section, {})
            if unit.is_split:
                self._shared(name, target, views)
                views[target.old] = ViewUse(target.new, None)
            for place in locations:
                if place in self.fields.old_relocations:
                    where = self.fields.checker.old.target(self.fields.old_relocations[place])
                    if where[0] == target.section:
                        views[target.old] = ViewUse(target.new, where[1])
            return
        lists = self.uses.lists.setdefault(target.section, {})
        self._shared(name, target, lists)
        lists[target.old] = ListUse(target.old, target.new, unit)

    def _shared(
        self, name: str | int, target: Target, known: Mapping[int, ListUse | ViewUse]
    ) -> None:
        """Who refers to the same in IN does so in OUT: of those who do the last one is kept."""
        found = known.get(target.old)
        if found is not None and found.new != target.new:
            rule = f"attribute {attribute_name(name)}"
            text = f"refers to {target.new:#x}, where another refers to {found.new:#x}"
            self.fields.differ(rule, None, None, text)

    def _split_list(self, name: str | int, old: int, new: int, unit: Unit) -> Target | None:
        """The list that an attribute of a split unit refers to: in the sections beside it, but for
        the ranges before DWARF 5, which are the object's.
        """
        if not unit.is_split:
            return None
        named = self.fields.checker.named
        if name == "DW_AT_ranges" and unit.shape.version < 5:
            section, base = unit.bases.get("DW_AT_GNU_ranges_base", (0, 0))
            return Target(section, base + old, base + new) if section else None
        kind = (
            "loc"
            if name in _LOCATIONS or name == "DW_AT_GNU_locviews"
            else "rng"
            if name == "DW_AT_ranges"
            else ""
        )
        wanted = f".debug_{kind}lists.dwo" if unit.shape.version >= 5 else f".debug_{kind}.dwo"
        base = 0
        if name == "DW_AT_GNU_locviews" and unit.shape.version >= 5:
            # As if it were an index's (GCC, dwarf2out.cc, output_view_list_offset).
            base = unit.bases.get("DW_AT_loclists_base", (0, 0))[1]
        return Target(named[wanted], base + old, base + new) if wanted in named else None

    # Bytes

    def _bytes(self, name: str | int, a: Value, b: Value, unit: Unit) -> None:
        """A block, string or expression."""
        expression = a.form == "DW_FORM_exprloc" or (
            unit.shape.version < 4 and a.form.startswith("DW_FORM_block") and name in _LOCATIONS
        )
        before, after = Block(a.raw, a.place), Block(b.raw, b.place)
        if expression:
            self.references += compare_expressions(self.fields, self.uses, before, after, unit)
        elif a.raw != b.raw:
            self._equal(name, a, b)
        elif a.form.startswith("DW_FORM_block"):
            self.fields.block(before, after)
