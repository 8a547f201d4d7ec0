"""Numbers of fixed size: what is read, and what can be put in their place."""

from __future__ import annotations

import pytest

from nopfix.dwarf import numbers
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.section import Change


@pytest.mark.parametrize("place", [-1, 3, 99])
def test_a_number_that_is_not_all_there_is_not_read(place: int) -> None:
    with pytest.raises(IndexError):
        numbers.number(b"\x01\x02\x03\x04", place, 2)


def test_the_length_of_a_unit_says_where_it_ends_and_how_wide_its_offsets_are() -> None:
    assert numbers.initial_length(b"?\x02\0\0\0ab", 1, ".debug_x") == (7, 4, 5)
    wide = b"\xff\xff\xff\xff" + (3).to_bytes(8, "little") + b"abc"
    assert numbers.initial_length(wide, 0, ".debug_x") == (15, 8, 12)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"\x03\0\0\0ab", "past the section's end"),
        (b"\xff\xff\xff\xff\x01", "past the section's end"),
        (b"\x01\0", "past the section's end"),
        (b"\xf0\xff\xff\xff", "reserved unit length 0xfffffff0"),
    ],
)
def test_a_length_that_leads_nowhere_is_refused_with_its_place(data: bytes, found: str) -> None:
    with pytest.raises(Unsupported, match=found) as caught:
        numbers.initial_length(data, 0, ".debug_x", "build it again")
    assert (caught.value.section, caught.value.offset) == (".debug_x", 0)
    assert caught.value.remedy == "build it again"


def test_a_new_number_is_as_wide_as_the_old_one() -> None:
    assert numbers.changed(".debug_x", 8, 10, 0x1234) == Change(8, 10, b"\x34\x12")


@pytest.mark.parametrize("value", [-1, 256])
def test_a_number_that_does_not_fit_is_refused_and_says_what_it_is(value: int) -> None:
    with pytest.raises(Unsupported, match=r"the new length -?0x[0-9a-f]+ doesn't fit 1 bytes"):
        numbers.changed(".debug_x", 8, 9, value, "length")
