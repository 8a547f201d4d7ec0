"""The one exception of the comparison is exactly one."""

from __future__ import annotations

import struct

from nopfix.corpus import lines

HEADER = bytes((4, 1, 0xFB, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1)) + b"\0f.c\0\0\0\0\0"
SET_ADDRESS = b"\0\x09\x02" + bytes(8)
ROW, END = b"\x01", b"\0\x01\x01"


def advance(words: int) -> bytes:
    return bytes((lines.DW_LNS_advance_pc, words))


def table(program: bytes) -> bytes:
    body = struct.pack("<HI", 3, len(HEADER)) + HEADER + program
    return struct.pack("<I", len(body)) + body


def places(data: bytes, *addends: int) -> dict[int, lines.Address]:
    start, found = 10 + len(HEADER), {}
    for addend in addends:
        start = data.index(SET_ADDRESS, start) + 3
        found[start] = (1, addend)
    return found


ADVANCED = table(SET_ADDRESS + ROW + advance(2) + ROW + advance(1) + END)
SET_AGAIN = table(SET_ADDRESS + ROW + SET_ADDRESS + ROW + advance(1) + END)


def test_a_set_address_in_place_of_an_advance_to_the_same_row_is_equal() -> None:
    assert lines.same_rows(ADVANCED, SET_AGAIN, places(ADVANCED, 0), places(SET_AGAIN, 0, 8))


def test_a_set_address_to_another_row_differs() -> None:
    assert not lines.same_rows(ADVANCED, SET_AGAIN, places(ADVANCED, 0), places(SET_AGAIN, 0, 12))


def test_another_way_to_the_same_rows_without_set_address_differs() -> None:
    other = table(SET_ADDRESS + ROW + advance(1) + advance(1) + ROW + advance(1) + END)
    assert not lines.same_rows(ADVANCED, other, places(ADVANCED, 0), places(other, 0))


def test_other_headers_and_other_operations_differ() -> None:
    column = b"\x05\x07"
    other = table(SET_ADDRESS + ROW + SET_ADDRESS + column + ROW + advance(1) + END)
    assert not lines.same_rows(ADVANCED, other, places(ADVANCED, 0), places(other, 0, 8))
    renamed = SET_AGAIN.replace(b"f.c", b"g.c")
    assert not lines.same_rows(ADVANCED, renamed, places(ADVANCED, 0), places(renamed, 0, 8))


def test_what_cannot_be_read_differs() -> None:
    assert not lines.same_rows(ADVANCED, SET_AGAIN[:-4], places(ADVANCED, 0), {})
