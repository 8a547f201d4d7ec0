"""Units and entries read one at a time: headers, attributes, strings."""

from __future__ import annotations

import pytest
from assembled import needs_assembler, pair
from entries import CODE, COMPILE_UNIT, NAME, VARIABLE, Entry, Unit, Value, sections, units

from nopfix.dwarf import encodings, entries
from nopfix.dwarf.encodings import (
    DW_AT_str_offsets_base,
    DW_FORM_block1,
    DW_FORM_data8,
    DW_FORM_exprloc,
    DW_FORM_implicit_const,
    DW_FORM_indirect,
    DW_FORM_line_strp,
    DW_FORM_sdata,
    DW_FORM_sec_offset,
    DW_FORM_string,
    DW_FORM_strp,
    DW_FORM_strx1,
    DW_FORM_udata,
)
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.unit import File, file_of

STRINGS = """
.section .debug_str,"MS",@progbits,1
.asciz "zero"
T: .asciz "one"
.section .debug_line_str,"MS",@progbits,1
L: .asciz "two"
.section .debug_str_offsets,"",@progbits
.4byte 12
.2byte 5, 0
B: .4byte 0, T
"""


def read(*written: Unit, more: str = "") -> tuple[File, list[tuple[entries.Header, dict]]]:
    """The file of these units, and each unit's header with the attributes of its own entry."""
    file = file_of(sections(pair({".text": CODE}, units(*written) + more)))
    return file, [(header, entry) for _, header, entry in entries.unit_entries(file)]


@needs_assembler
@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("wide", [False, True])
def test_a_header_says_where_its_entries_begin_and_how_wide_offsets_are(
    version: int, wide: bool
) -> None:
    tree = Entry(COMPILE_UNIT, (Value(NAME, DW_FORM_string, "x"),))
    _, found = read(Unit(tree, version, wide), Unit(tree, version, wide))
    for header, entry in found:
        assert header.sizes == (version, 8 if wide else 4, 8)
        assert entry[NAME].place == header.entries + 1
        assert header.kind == encodings.DW_UT_compile
    assert found[0][0].end == found[1][0].offset


@needs_assembler
def test_a_split_unit_names_itself_in_its_header_and_a_type_unit_its_type() -> None:
    tree = Entry(COMPILE_UNIT, (Value(NAME, DW_FORM_string, "x"),))
    skeleton = Unit(tree, kind=encodings.DW_UT_skeleton, more=".8byte 0x1234")
    types = Unit(tree, kind=encodings.DW_UT_type, more=".8byte 7\n.4byte 99")
    _, ((first, _), (second, _)) = read(skeleton, types)
    assert (first.dwo_id, first.type_offset) == (0x1234, 0)
    assert (second.dwo_id, second.type_offset) == (None, second.entries - 4)


@needs_assembler
def test_a_constant_is_read_in_its_form() -> None:
    values = (
        Value(0x2101, DW_FORM_sdata, "-300"),
        Value(0x2102, DW_FORM_udata, "300"),
        Value(0x2103, DW_FORM_data8, "0x123456789"),
        Value(0x2104, DW_FORM_implicit_const, "-7"),
        Value(0x2105, DW_FORM_indirect, "9", DW_FORM_udata),
    )
    file, ((_, entry),) = read(Unit(Entry(COMPILE_UNIT, values)))
    data = bytes(file.named(".debug_info")[0].data)
    got = [entries.constant(data, entry[value.name]) for value in values]
    assert got == [-300, 300, 0x123456789, -7, 9]


@needs_assembler
@pytest.mark.parametrize("form", [DW_FORM_block1, DW_FORM_exprloc])
def test_a_block_begins_behind_its_length(form: int) -> None:
    file, ((_, entry),) = read(Unit(Entry(COMPILE_UNIT, (Value(NAME, form, ".byte 0x96, 0x12"),))))
    data = bytes(file.named(".debug_info")[0].data)
    begin = entries.block_start(data, entry[NAME])
    assert data[begin : entry[NAME].end] == b"\x96\x12"


@needs_assembler
@pytest.mark.parametrize(
    ("form", "value", "text"),
    [
        (DW_FORM_string, "here", "here"),
        (DW_FORM_strp, "T", "one"),
        (DW_FORM_line_strp, "L", "two"),
        (DW_FORM_strx1, "1", "one"),
    ],
)
def test_a_string_is_found_wherever_its_form_keeps_it(form: int, value: str, text: str) -> None:
    base = Value(DW_AT_str_offsets_base, DW_FORM_sec_offset, "B")
    tree = Entry(COMPILE_UNIT, (Value(NAME, form, value), base))
    file, ((header, entry),) = read(Unit(tree), more=STRINGS)
    section = file.named(".debug_info")[0]
    assert entries.text(file, section, header, entry, entry[NAME]) == text


@needs_assembler
def test_a_string_that_is_not_there_is_refused() -> None:
    base = Value(DW_AT_str_offsets_base, DW_FORM_sec_offset, "B")
    tree = Entry(COMPILE_UNIT, (Value(NAME, DW_FORM_strx1, "9"), base))
    file, ((header, entry),) = read(Unit(tree), more=STRINGS)
    with pytest.raises(Unsupported, match="a string that isn't there"):
        entries.text(file, file.named(".debug_info")[0], header, entry, entry[NAME])


@needs_assembler
def test_the_depth_of_an_entry_is_that_of_its_parents() -> None:
    leaf = Entry(VARIABLE, (Value(NAME, DW_FORM_string, "b"),))
    tree = Entry(COMPILE_UNIT, (), (Entry(VARIABLE, (), (leaf,)), leaf))
    file = file_of(sections(pair({".text": CODE}, units(Unit(tree)))))
    section = file.named(".debug_info")[0]
    ((_, header, _),) = entries.unit_entries(file)
    table = entries.abbrev.parse(file.named(".debug_abbrev")[0], 0)
    found = entries.walk(bytes(section.data), header, table)
    assert [depth for depth, _, _, _ in found] == [0, 1, 2, 1]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ("0b000000 0600 00000000 08 00000000", "DWARF version 6"),
        ("0b000000 0400 00000000 04 00000000", "addresses of 4 bytes"),
        ("0b000000 0500 07 08 00000000 000000", "unknown unit type DW_UT 0x7"),
        ("02000000 0400", "a unit header without an end"),
    ],
)
def test_a_header_that_is_not_known_is_refused(data: str, found: str) -> None:
    section = sections_of(bytes.fromhex(data))
    with pytest.raises(Unsupported, match=found) as caught:
        list(entries.headers(section, section.named(".debug_info")[0]))
    assert caught.value.offset == 0
    assert caught.value.remedy == ("compile with -gdwarf-5" if "version 6" in found else "")


def sections_of(data: bytes) -> File:
    from nopfix.dwarf.section import Relocations, Section

    names = ".debug_info", ".debug_abbrev"
    return file_of(
        Section(number, name, data, Relocations()) for number, name in enumerate(names, 1)
    )
