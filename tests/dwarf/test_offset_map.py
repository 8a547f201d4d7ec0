"""The offset map against its definition: an edit moves its place by side, all behind by start."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from nopfix.dwarf.offset_map import IDENTITY, Edit, OffsetMap, padding, resize, slot

LIMITS = settings(max_examples=50, deadline=None, database=None, derandomize=True)

edits = st.lists(
    st.builds(
        Edit,
        offset=st.integers(0, 30).map(lambda word: 4 * word),
        before=st.integers(0, 1),
        after=st.integers(0, 3),
        start=st.integers(0, 5),
    ),
    max_size=12,
)


@LIMITS
@given(edits, st.integers(0, 130))
def test_an_offset_moves_by_all_edits_in_front_and_by_its_own_side_of_those_at_it(
    found: list[Edit], offset: int
) -> None:
    section_map = OffsetMap(found)
    front = sum(edit.start for edit in found if edit.offset < offset)
    here = [edit for edit in found if edit.offset == offset]
    assert section_map.before(offset) == offset + front + sum(edit.before for edit in here)
    assert section_map.after(offset) == offset + front + sum(edit.after for edit in here)
    assert section_map.start(offset) == offset + front + sum(edit.start for edit in here)


@LIMITS
@given(edits, st.integers(0, 130))
def test_move_gives_the_named_side(found: list[Edit], offset: int) -> None:
    section_map = OffsetMap(found)
    assert section_map.move(offset, "before") == section_map.before(offset)
    assert section_map.move(offset, "after") == section_map.after(offset)
    assert section_map.move(offset, "start") == section_map.start(offset)


@LIMITS
@given(edits, st.integers(0, 130))
def test_the_columns_give_the_start_side_to_hot_loops(found: list[Edit], offset: int) -> None:
    section_map = OffsetMap(found)
    behind = sum(place <= offset for place in section_map.places)
    assert section_map.start(offset) == offset + section_map.shifts[behind]


@LIMITS
@given(edits)
def test_the_order_of_edits_makes_no_difference(found: list[Edit]) -> None:
    one, other = OffsetMap(found), OffsetMap(reversed(found))
    assert [one.start(offset) for offset in range(130)] == [
        other.start(offset) for offset in range(130)
    ]


def test_a_slot_lies_between_the_return_address_and_what_ends_there() -> None:
    section_map = OffsetMap([slot(8)])
    assert (section_map.before(8), section_map.after(8), section_map.start(8)) == (8, 12, 12)


def test_padding_lies_between_what_ends_and_what_begins() -> None:
    section_map = OffsetMap([slot(8), padding(8, 8)])
    assert (section_map.before(8), section_map.after(8), section_map.start(8)) == (8, 12, 20)


def test_padding_may_shrink() -> None:
    section_map = OffsetMap([slot(8), padding(16, -4)])
    assert [section_map.start(offset) for offset in (4, 8, 12, 16, 20)] == [4, 12, 16, 16, 20]


def test_an_item_that_grows_moves_what_follows_it_only() -> None:
    section_map = OffsetMap([resize(5, 2)])
    assert [section_map.start(offset) for offset in (4, 5, 6)] == [4, 7, 8]


def test_only_a_map_with_edits_is_true() -> None:
    assert not IDENTITY
    assert OffsetMap([slot(0)])
