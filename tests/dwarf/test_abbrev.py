"""Abbreviation tables: what is read and what is refused."""

from __future__ import annotations

import pytest

from nopfix.dwarf import abbrev
from nopfix.dwarf.abbrev import Abbreviation, Attribute
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.section import Relocations, Section


def parse(data: bytes, offset: int = 0) -> dict[int, Abbreviation]:
    return abbrev.parse(Section(7, ".debug_abbrev", data, Relocations()), offset)


def test_declarations_are_found_by_code_from_the_given_offset() -> None:
    data = b"\xff" + bytes.fromhex("01 11 01 03 08 11 01 00 00  85 01 2e 00 87 40 0b 00 00  00")
    assert parse(data, 1) == {
        1: Abbreviation(1, 1, 0x11, True, (Attribute(3, 8, 0), Attribute(0x11, 1, 0))),
        133: Abbreviation(10, 133, 0x2E, False, (Attribute(0x2007, 0x0B, 0),)),
    }


def test_an_implicit_constant_of_zero_does_not_end_the_declaration() -> None:
    data = bytes.fromhex("01 34 00  03 21 00  49 13  00 00  02 34 00 3a 21 7f 00 00 00")
    table = parse(data)
    assert table[1].attributes == (Attribute(3, 0x21, 0), Attribute(0x49, 0x13, 0))
    assert table[2].attributes == (Attribute(0x3A, 0x21, -1),)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ("01 11 01 03 08", "without an end"),
        ("01 11", "without an end"),
        ("01 11 00 00 00", "without an end"),
        ("ff" * 40, "without an end"),
        ("01 11 00 03 77 00 00 00", "DW_FORM 0x77"),
        ("01 11 00 00 00 01 11 00 00 00 00", "declared twice"),
    ],
)
def test_a_malformed_table_is_refused(data: str, found: str) -> None:
    with pytest.raises(Unsupported, match=found) as caught:
        parse(bytes.fromhex(data))
    assert caught.value.section == ".debug_abbrev"


@pytest.mark.parametrize("offset", [-1, 3, 1 << 62])
def test_an_offset_outside_the_section_is_refused(offset: int) -> None:
    with pytest.raises(Unsupported):
        parse(b"\x01\x11\x00", offset)
