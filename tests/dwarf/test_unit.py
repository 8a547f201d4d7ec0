"""What sections need to know of a unit: its file, its table of addresses, where entries went."""

from __future__ import annotations

import pytest

from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.offset_map import OffsetMap, resize
from nopfix.dwarf.section import Relocations, Section, Target
from nopfix.dwarf.unit import AddressTable, MovedEntries, file_of


def section(number: int, name: str, *relocations: tuple[int, int, int]) -> Section:
    """A section of 16 bytes, with relocations as (place, section, offset)."""
    count = len(relocations)
    columns = zip(*relocations, strict=True) if count else ((), (), ())
    places, sections, offsets = (list(column) for column in columns)
    return Section(
        number, name, bytes(16), Relocations(places, range(count), [0] * count, sections, offsets)
    )


def test_a_relocated_field_points_where_its_relocation_says() -> None:
    info = section(1, ".debug_info", (4, 2, 0x30))
    assert file_of([info]).resolve(info, 4, 99, ".debug_abbrev") == Target(2, 0x30)


def test_a_plain_offset_counts_in_the_one_section_of_that_name() -> None:
    info, abbreviations = section(1, ".debug_info.dwo"), section(2, ".debug_abbrev.dwo")
    file = file_of([info, abbreviations], split=True)
    assert file.resolve(info, 4, 8, ".debug_abbrev") == Target(2, 8)


@pytest.mark.parametrize("count", [0, 2])
def test_a_plain_offset_into_no_section_or_several_is_refused(count: int) -> None:
    info = section(1, ".debug_info")
    file = file_of([info, *(section(2 + i, ".debug_abbrev") for i in range(count))])
    with pytest.raises(Unsupported, match=f"and {count} sections .debug_abbrev") as caught:
        file.resolve(info, 4, 8, ".debug_abbrev")
    assert caught.value.offset == 4


def test_an_entry_of_the_table_of_addresses_is_counted_from_its_base() -> None:
    addresses = section(7, ".debug_addr", (8, 3, 0x40))
    table = AddressTable(7, 16, 8, 8, addresses.relocations)
    assert table.entry(0) == Target(7, 8)
    assert table.target(0) == Target(3, 0x40)
    assert table.place(1) == -1
    assert table.target(1) is None


def test_asking_a_table_leaves_it_as_it_was() -> None:
    table = AddressTable(7, 16, 8, 8, section(7, ".debug_addr", (8, 3, 0x40)).relocations)
    before = tuple(table)
    table.target(0)
    assert tuple(table) == before


def test_the_offset_of_an_entry_counts_from_its_own_unit_wherever_that_is_now() -> None:
    grown = OffsetMap([resize(0x10, 4), resize(0x30, 1)])
    moved = MovedEntries({1: grown}, {})
    assert moved.moved(Target(1, 0x20), 0x18) == 0x19
    assert moved.moved(Target(2, 0x20), 0x18) == 0x18


def test_an_offset_in_an_object_means_an_entry_of_the_split_unit() -> None:
    grown = OffsetMap([resize(0x30, 1)])
    moved = MovedEntries({}, {Target(1, 0): (grown, 0x20)})
    assert moved.moved(Target(1, 0), 0x18) == 0x19
