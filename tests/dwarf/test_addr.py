"""Tables of addresses: where they end, which side their entries are on, what is added."""

from __future__ import annotations

import pytest

from nopfix.dwarf import addr
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.forms import Sizes
from nopfix.dwarf.offset_map import OffsetMap, slot
from nopfix.dwarf.section import CopiedRelocation, Relocations, Section

HEADER = bytes.fromhex("14000000 0500 08 00")
RELOCATIONS = Relocations([8, 16], [0, 0], [0x40, 0x48], [1], [0])
SECTION = Section(7, ".debug_addr", HEADER + bytes(16), RELOCATIONS)
MAPS = {1: OffsetMap([slot(0x48)])}


def test_a_table_of_dwarf_5_ends_where_its_header_says_others_with_the_next_one() -> None:
    assert addr.extent(SECTION, 8, Sizes(5, 4, 8)) == (24, 8)
    assert addr.extent(SECTION, 0, Sizes(4, 4, 8)) == (24, 0)
    assert addr.divide(0, 24, [0, 16]) == 16
    assert addr.divide(16, 24, [0, 16]) == 24


@pytest.mark.parametrize("base", [4, 16])
def test_a_table_without_the_header_that_it_should_have_is_refused(base: int) -> None:
    with pytest.raises(Unsupported, match=r"header|unit"):
        addr.extent(SECTION, base, Sizes(5, 4, 8))


def test_only_entries_that_move_apart_are_named() -> None:
    new = addr.rewrite(SECTION, {8: "before", 16: "before"}, [], MAPS)
    assert new is not None
    assert new.sides == {16: "before"}
    assert addr.rewrite(SECTION, {8: "before"}, [], MAPS) is None


def test_a_side_of_what_is_no_address_is_refused() -> None:
    with pytest.raises(Unsupported, match="isn't a relocated address"):
        addr.rewrite(SECTION, {12: "before"}, [], MAPS)


def test_new_entries_go_to_the_end_of_their_table_and_its_length_says_so() -> None:
    new = addr.rewrite(SECTION, {}, [addr.Copy(8, 24, 8, 16, "before")], MAPS)
    assert new is not None
    assert len(new.data) == 32
    assert int.from_bytes(new.data[:4], "little") == 28
    assert new.copies == [CopiedRelocation(16, 24, "before")]
