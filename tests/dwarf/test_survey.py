"""Entries stepped over: what is noted lies where the assembler put it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from assembled import needs_assembler, pair
from entries import (
    BASE_TYPE,
    CALL_RETURN_PC,
    CALL_SITE,
    CODE,
    DECL_LINE,
    ENTRY_PC,
    GNU_CALL_SITE,
    HIGH_PC,
    LOCATION,
    LOW_PC,
    START_SCOPE,
    SUBPROGRAM,
    VARIABLE,
    Entry,
    Unit,
    Value,
    block,
    check_all,
    compile_unit,
    sections,
    units,
)

from nopfix.dwarf import abbrev, debug, entries, forms, notes, survey
from nopfix.dwarf.encodings import (
    DW_FORM_addr,
    DW_FORM_data1,
    DW_FORM_data2,
    DW_FORM_data4,
    DW_FORM_exprloc,
    DW_FORM_implicit_const,
    DW_FORM_indirect,
    DW_FORM_udata,
)
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.unit import file_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nopfix.dwarf.section import Section


def every_form() -> Iterator[Value]:
    """A value of each form; names don't matter for stepping over."""
    texts = {
        "string": "text",
        "block1": ".byte 1,2",
        "block2": ".byte 1",
        "block4": "",
        "block": "",
        "addrx_offset": "0,0",
    }
    for form, size in sorted(forms.SIZES.items()):
        if form == DW_FORM_indirect:
            continue
        text = texts.get(size, "300" if size in ("leb128", 16) else "5")
        yield Value(0x2100 + form % 100, form, text)


@needs_assembler
@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("wide", [False, True])
def test_entries_begin_where_the_assembler_put_them(version: int, wide: bool) -> None:
    some = [v for v in every_form() if version == 5 or v.form < 0x1A]
    direct = tuple(
        Entry(VARIABLE, (v, Value(DECL_LINE, DW_FORM_data2, "7")), label=f"D{i}")
        for i, v in enumerate(some)
    )
    indirect = tuple(
        Entry(VARIABLE, (Value(v.name, DW_FORM_indirect, v.text, v.form),), label=f"I{i}")
        for i, v in enumerate(some)
        if v.form != DW_FORM_implicit_const
    )
    tree = compile_unit(*direct, *indirect, block(2, 9, DW_FORM_data4))
    written = units(Unit(tree, version, wide))
    found = pair({".text": CODE}, written)
    section = found.plain.section(".debug_info")
    file = file_of(sections(found))
    (header,) = entries.headers(file, section)
    table = survey.survey(file, {})[section.number][0].table
    begins = {place - 1 for _, place, _, _ in entries.walk(section.data, header, table)}
    labels = {found.plain.symbols[entry.label] for entry in (*direct, *indirect)}
    assert len(labels) == len(direct) + len(indirect)
    assert labels < begins


@needs_assembler
def test_an_abbreviation_code_of_two_bytes_is_read() -> None:
    children = tuple(Entry(BASE_TYPE, (Value(0x2000 + i, DW_FORM_data1, "1"),)) for i in range(150))
    check_all(
        pair({".text": CODE}, units(Unit(compile_unit(*children, block(1, 9, DW_FORM_data4)))))
    )


@needs_assembler
def test_an_entry_that_runs_past_its_unit_is_refused() -> None:
    tree = compile_unit(Entry(VARIABLE, (Value(LOCATION, DW_FORM_exprloc, ".byte 0x96"),)))
    found = pair({".text": CODE}, units(Unit(tree)))
    data = bytearray(found.plain.contents[".debug_info"])
    data[-3] = 0x7F
    broken = [
        s._replace(data=bytes(data)) if s.name == ".debug_info" else s for s in sections(found)
    ]
    with pytest.raises(Unsupported, match="past the unit's end"):
        debug.rewrite(broken, found.maps)


@needs_assembler
@pytest.mark.parametrize(("digits", "is_read"), [(28, True), (29, False), (40, False)])
def test_a_number_that_is_longer_than_any_writer_pads_to_is_refused(
    digits: int, is_read: bool
) -> None:
    # gas writes seven bits of it a byte; whoever reads one that was noted finds its end.
    long = Value(DECL_LINE, DW_FORM_udata, "0x" + "f" * digits)
    found = pair({".text": CODE}, units(Unit(compile_unit(Entry(VARIABLE, (long,))))))
    if is_read:
        check_all(found)
    else:
        with pytest.raises(Unsupported, match="without an end"):
            debug.rewrite(sections(found), found.maps)


def plainly(section: Section, surveyed: survey.Surveyed) -> notes.Columns:
    """What there is to note in a unit, entry by entry and attribute by attribute."""
    columns = notes.no_columns()
    data, header = bytes(section.data), surveyed.header
    for _, _, abbreviation, values in entries.walk(data, header, surveyed.table):
        attributes = tuple(abbrev.Attribute(v.name, v.form, v.implicit) for v in values)
        actual = abbreviation._replace(attributes=attributes)
        for index, found in notes.notes_of(actual, header.sizes, ".debug_abbrev").items():
            for note in found:
                note.column(columns).append(values[index].place)
    return columns


@needs_assembler
@pytest.mark.parametrize("version", [3, 4, 5])
def test_the_programs_note_what_reading_every_attribute_notes(version: int) -> None:
    low, label = Value(LOW_PC, DW_FORM_addr, "S2"), ("7", "S9")
    some = tuple(v for v in every_form() if version == 5 or v.form < 0x1A)
    ends = [(DW_FORM_addr, "E9"), (DW_FORM_data4, "E9-S2"), (DW_FORM_udata, "E9-S2")]
    functions = [
        Entry(SUBPROGRAM, (*some[i:], low, Value(HIGH_PC, form, text), *some[:i]))
        for i in range(0, len(some), 5)
        for form, text in ends
    ]
    indirect = [
        Entry(SUBPROGRAM, (low, Value(HIGH_PC, DW_FORM_indirect, text, form)))
        for form, text in ends
    ]
    others = [
        Entry(SUBPROGRAM, (low, Value(ENTRY_PC, DW_FORM_data2, label[0]))),
        Entry(
            SUBPROGRAM,
            (low, Value(HIGH_PC, DW_FORM_data4, "4"), Value(ENTRY_PC, DW_FORM_data2, "4")),
        ),
        Entry(VARIABLE, (Value(START_SCOPE, DW_FORM_udata, label[0]),)),
        Entry(GNU_CALL_SITE, (Value(LOW_PC, DW_FORM_addr, label[1]),)),
        Entry(CALL_SITE, (Value(CALL_RETURN_PC, DW_FORM_addr, label[1]),)),
    ]
    tree = compile_unit(*functions, *indirect, *others, *functions)
    file = file_of(sections(pair({".text": CODE}, units(Unit(tree, version), Unit(tree, version)))))
    for number, found in survey.survey(file, {}).items():
        for surveyed in found:
            expected = plainly(file.sections[number], surveyed)
            assert surveyed.columns.addresses, "nothing was noted: the test shows nothing"
            for got, group in zip(surveyed.columns[:5], expected[:5], strict=True):
                assert in_any_order(got) == in_any_order(group)


def in_any_order(group: Mapping[object, object]) -> dict[object, object]:
    """The columns of one group; entries that only they tell the forms of are noted last."""
    return {
        note: sorted(zip(*places, strict=True) if isinstance(places, notes.Pairs) else places)
        for note, places in group.items()
        if not isinstance(places, notes.Pairs) or places.partners
    }
