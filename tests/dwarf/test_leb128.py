"""LEB128 against the standard's examples and against itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nopfix.dwarf import leb128

LIMITS = settings(max_examples=50, deadline=None, database=None, derandomize=True)

# DWARF 5, tables 7.7 and 7.8.
UNSIGNED = [(2, "02"), (127, "7f"), (128, "8001"), (129, "8101"), (12857, "b964")]
SIGNED = [(2, "02"), (-2, "7e"), (127, "ff00"), (-127, "817f"), (128, "8001"), (-128, "807f")]

numbers = st.integers(0, (1 << 64) - 1)
signed_numbers = st.integers(-(1 << 63), (1 << 63) - 1)


@pytest.mark.parametrize(("value", "encoded"), UNSIGNED)
def test_the_standards_unsigned_examples(value: int, encoded: str) -> None:
    assert leb128.encode_unsigned(value).hex() == encoded
    assert leb128.unsigned(bytes.fromhex(encoded), 0) == (value, len(encoded) // 2)


@pytest.mark.parametrize(("value", "encoded"), SIGNED)
def test_the_standards_signed_examples(value: int, encoded: str) -> None:
    assert leb128.encode_signed(value).hex() == encoded
    assert leb128.signed(bytes.fromhex(encoded), 0) == (value, len(encoded) // 2)


@LIMITS
@given(numbers, st.integers(0, 12), st.binary(max_size=4))
def test_what_is_written_is_read_and_padded_to_the_width(
    value: int, width: int, prefix: bytes
) -> None:
    encoded = leb128.encode_unsigned(value, width)
    assert len(encoded) == max(width, leb128.unsigned_size(value))
    buffer = prefix + encoded + b"\xff"
    assert leb128.unsigned(buffer, len(prefix)) == (value, len(buffer) - 1)
    assert leb128.skip(buffer, len(prefix)) == len(buffer) - 1


@LIMITS
@given(signed_numbers)
def test_what_is_written_signed_is_read_and_no_shorter_form_holds_it(value: int) -> None:
    encoded = leb128.encode_signed(value)
    assert leb128.signed(encoded, 0) == (value, len(encoded))
    bits = 7 * (len(encoded) - 1)
    assert not bits or not -(1 << bits - 1) <= value < 1 << bits - 1


@LIMITS
@given(st.integers(0, 40), st.integers(0, 8))
def test_a_number_without_an_end_says_where_it_began(length: int, offset: int) -> None:
    buffer = bytes(offset) + b"\x80" * length
    for read in (leb128.unsigned, leb128.signed, leb128.skip):
        with pytest.raises(leb128.BadLeb128) as caught:
            read(buffer, offset)
        assert caught.value.offset == offset


def test_a_run_that_goes_on_for_ever_is_not_followed() -> None:
    with pytest.raises(leb128.BadLeb128):
        leb128.unsigned(b"\x80" * leb128.LONGEST + b"\0", 0)
    assert leb128.unsigned(b"\x80" * (leb128.LONGEST - 1) + b"\0", 0) == (0, leb128.LONGEST)
