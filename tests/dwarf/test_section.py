"""What goes in and comes out: relocations by place, changes into bytes and a map."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from nopfix.dwarf.offset_map import IDENTITY
from nopfix.dwarf.section import Change, Relocations, Target, splice

LIMITS = settings(max_examples=200, deadline=None, database=None, derandomize=True)


@st.composite
def changes(draw: st.DrawFn, size: int) -> list[Change]:
    """Some changes of ``size`` bytes that don't overlap, out of order."""
    places = sorted(draw(st.sets(st.integers(0, size), max_size=8)))
    spans = list(zip(places[::2], places[1::2], strict=False))
    found = []
    for place, end in spans:
        same = draw(st.booleans())
        new = bytes(end - place) if same else draw(st.binary(max_size=6))
        found.append(Change(place, end, new))
    return draw(st.permutations(found))


@LIMITS
@given(st.data(), st.binary(max_size=40))
def test_what_is_spliced_lies_where_the_map_says(data: st.DataObject, old: bytes) -> None:
    found = data.draw(changes(len(old)))
    new, moved = splice(old, found)
    expected = bytes(old)
    for place, end, content, _ in sorted(found, reverse=True):
        expected = expected[:place] + content + expected[end:]
    assert bytes(new) == expected
    for offset, byte in enumerate(old):
        if not any(place <= offset < end for place, end, _, _ in found):
            assert new[moved.start(offset)] == byte
    assert moved.start(len(old)) == len(new)


def test_changes_that_keep_their_size_move_nothing() -> None:
    new, moved = splice(b"abcd", [Change(1, 3, b"xy")])
    assert bytes(new) == b"axyd"
    assert moved is IDENTITY


def test_padding_lies_behind_what_ends_in_front_of_it() -> None:
    _, filled = splice(b"abcd", [Change(2, 2, b"\0\0", fills=True)])
    assert (filled.after(2), filled.start(2)) == (2, 4)
    _, grown = splice(b"abcd", [Change(2, 2, b"\0\0")])
    assert (grown.after(2), grown.start(2)) == (4, 4)


def test_a_relocation_is_found_by_its_place_alone() -> None:
    relocations = Relocations([4, 12], [1, 0], [8, -2], [3, 7], [0x100, 0x40])
    assert relocations.target(4) == Target(7, 0x48)
    assert relocations.target(12) == Target(3, 0xFE)
    assert relocations.target(5) is None
    assert relocations.target(99) is None
