"""Where the parts of a section went, noted compactly."""

from __future__ import annotations

import pytest

from nopfix.verifier.pairing import START, Known, Starts

NOTED = {0: 0, 11: 11, 20: 24, 31: 35, 90: 98}


@pytest.fixture
def starts() -> Starts:
    found = Starts()
    found.add(0, 0)
    found.extend([11], 0)
    found.extend([20, 31], 4)
    found.add(90, 98)
    return found


def test_starts_say_what_a_dict_of_them_would(starts: Starts) -> None:
    assert dict(starts) == NOTED
    assert [starts.get(offset) for offset in range(-1, 92)] == [*map(NOTED.get, range(-1, 92))]
    assert starts.between(11, 31) == [(11, 11), (20, 24)]
    assert starts.between(32, 90) == []


def test_the_start_of_a_section_has_a_counterpart_though_no_part_begins_there() -> None:
    assert Known(8, 8, {4: 8}).sides[START](0) == 0
    assert Known(8, 8, {0: 4}).sides[START](0) == 4
    assert Known(8, 8, {}).sides[START](4) is None
