"""What units refer to in other sections: lists, addresses, and the entries of other units.

A list says nothing by itself: which unit it belongs to, so which base address its distances are
from, only the attribute tells that refers to it. So units are looked at first, and what they refer
to is kept here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nopfix.verifier.fields import Fields, Target, shown
from nopfix.verifier.pairing import Starts

if TYPE_CHECKING:
    from nopfix.verifier.elf import Object, Relocation
    from nopfix.verifier.forms import Format


class Unit:
    """What lists and other sections need to know of a unit."""

    def __init__(self, section: int, old: int, new: int, shape: Format) -> None:
        """A unit at `old` in IN and `new` in OUT of a section."""
        self.section = section
        self.old = old
        self.new = new
        self.shape = shape
        self.base: Target | None = None
        """DW_AT_low_pc of the unit entry."""
        self.address_base: tuple[int, int] | None = None
        """Section and offset of the unit's part of .debug_addr in IN."""
        self.new_address_base: tuple[int, int] | None = None
        """The same in OUT."""
        self.bases: dict[str, tuple[int, int]] = {}
        """Section and offset of DW_AT_loclists_base, DW_AT_rnglists_base and
        DW_AT_GNU_ranges_base."""
        self.is_split = False
        """Whether it is a split unit, whose offsets into other sections have no relocations."""


class ListUse(NamedTuple):
    """An attribute refers to a list, a table of views, or the like."""

    old: int
    new: int
    unit: Unit


class ViewUse(NamedTuple):
    """A table of views: where it is in OUT, and where the list begins in IN that it is about."""

    new: int
    list: int | None
    """None where that is the next one behind the table."""


class Reference(NamedTuple):
    """A reference to an entry: where it stands in IN and OUT, which entry of each it names."""

    place: int
    new_place: int
    old: int
    new: int


class Uses:
    """What the units of all sections refer to in other sections."""

    def __init__(self) -> None:
        """Nothing met yet."""
        self.lists: dict[int, dict[int, ListUse]] = {}
        """By section: lists of locations and ranges, by their offset in IN."""
        self.views: dict[int, dict[int, ViewUse]] = {}
        """By section: tables of views, by their offset in IN."""
        self.indexed: dict[str, list[tuple[Unit, int]]] = {"loc": [], "rng": []}
        """Lists used by index: (unit, index)."""
        self.addresses: set[tuple[int, int]] = set()
        """(section, offset) of the entries of .debug_addr of OUT that are used.  What these lead
        to has been checked."""
        self.entries: dict[int, Starts] = {}
        """By section: offset of each entry and unit in IN: offset in OUT."""
        self.range_bases: dict[int, dict[int, Unit]] = {}
        """By section: where the lists begin that only the .dwo of a unit names (GNU's split
        DWARF 4, DW_AT_GNU_ranges_base)."""
        self.units: list[Unit] = []
        self.skeletons = False
        """Whether some unit names a .dwo."""
        self.by_id: dict[int, Unit] = {}
        """The skeletons, by the id that the split unit has as well."""
        self.split: dict[int, Unit] = {}
        """The split units that are looked at, by the same id."""
        self._address_tables: dict[tuple[int, int], dict[int, Relocation]] = {}

    @property
    def unseen(self) -> bool:
        """Whether a .dwo that isn't looked at may use what nothing here does."""
        return self.skeletons and (not self.by_id or not self.by_id.keys() <= self.split.keys())

    def split_entry(self, section: int, unit: int, offset: int) -> int | None:
        """Where an entry is in OUT's split unit that is at an offset of IN's; None where that unit
        isn't looked at.  It is the one that belongs to the skeleton at `unit` of a section.
        """
        for identity, split in self.split.items():
            skeleton = self.by_id[identity]
            if (skeleton.section, skeleton.old) == (section, unit):
                new = self.entries.get(split.section, Starts()).get(split.old + offset)
                return None if new is None else new - split.new
        return None

    def address_table(self, obj: Object, section: int, which: int) -> dict[int, Relocation]:
        """The relocations of a .debug_addr by place; `which` is 0 for IN, 1 for OUT."""
        if (section, which) not in self._address_tables:
            self._address_tables[section, which] = {
                relocation.place: relocation for relocation in obj.relocations.get(section, ())
            }
        return self._address_tables[section, which]

    def judge_references(self, fields: Fields, section: int, references: list[Reference]) -> None:
        """References to entries of a section lead to the counterpart of the entry referred to."""
        entries = self.entries.get(section, Starts())
        for reference in references:
            moved = entries.get(reference.old)
            if moved != reference.new:
                fields.differ(
                    "reference",
                    reference.place,
                    reference.new_place,
                    f"refers to the entry at {reference.old:#x} in IN, so {shown(moved)} in OUT,"
                    f" but {reference.new:#x}",
                )


Index = int | tuple[int, int]


def indexed_address(
    fields: Fields, uses: Uses, unit: Unit, indices: tuple[Index, Index], place: int, side: str
) -> Target | None:
    """The target of an entry of the unit's part of .debug_addr; `indices` in IN and in OUT.

    An index may be a pair: that and what is added to the address (DW_FORM_LLVM_addrx_offset; LLVM,
    llvm/lib/DebugInfo/DWARF/DWARFFormValue.cpp). The entry of OUT must lead where the target of the
    one of IN went. It need not have the same number: an address that is both a return address and
    the start of something is one entry in IN, and two in OUT. `place` is the offset of the index in
    IN's section, for messages.
    """
    (index, offset), (new_index, new_offset) = (
        value if isinstance(value, tuple) else (value, 0) for value in indices
    )
    before = after = None
    if unit.address_base is not None and unit.new_address_base is not None:
        section, base = unit.address_base
        size = unit.shape.address_size
        new_at = unit.new_address_base[1] + new_index * size
        before = uses.address_table(fields.checker.old, section, 0).get(base + index * size)
        after = uses.address_table(fields.checker.new, section, 1).get(new_at)
        uses.addresses.add((section, new_at))
    if before is None or after is None:
        if index != new_index or before is not after:
            fields.differ("address-index", place, None, f"{index} in IN, {new_index} in OUT")
        return None
    target, old = fields.checker.old.target(before)
    new_target, new = fields.checker.new.target(after)
    old, new = old + offset, new + new_offset
    expected = fields.move(target, old, side)
    if before.type != after.type:
        text = (
            f"address {new_index} of OUT has a relocation of type {after.type}, not {before.type}"
        )
        fields.differ("address-index", place, None, text)
    elif target != new_target or expected != new:
        fields.differ(
            "address-index",
            place,
            None,
            f"address {index} of .debug_addr leads to {old:#x} in IN, so to {shown(expected)} in"
            f" OUT ({side}), but address {new_index} of OUT leads to {new:#x}",
        )
    return Target(target, old, new)
