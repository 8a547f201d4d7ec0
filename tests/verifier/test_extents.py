"""Which of a section's objects a place is in."""

from __future__ import annotations

import pytest

from nopfix.verifier.extents import NOWHERE, Extents

PARTS = [range(16, 24), range(40), range(16, 20), range(48, 56)]


@pytest.mark.parametrize("place", range(60))
def test_a_place_is_in_what_begins_in_front_of_it_and_ends_behind_it(place: int) -> None:
    found = Extents(PARTS).around(place)
    assert sorted(found, key=repr) == sorted((p for p in PARTS if place in p), key=repr)
    assert found == sorted(found, key=lambda part: part.start)
    assert (place in Extents(PARTS)) == bool(found)
    assert place not in NOWHERE
