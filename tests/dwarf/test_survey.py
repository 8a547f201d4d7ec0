"""Entries stepped over: what is noted lies where the assembler put it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from assembled import needs_assembler, pair
from entries import (
    BASE_TYPE,
    CODE,
    DECL_LINE,
    LOCATION,
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

from dwarf import debug, entries, forms, survey
from dwarf.encodings import (
    DW_FORM_data1,
    DW_FORM_data2,
    DW_FORM_data4,
    DW_FORM_exprloc,
    DW_FORM_implicit_const,
    DW_FORM_indirect,
)
from dwarf.errors import Unsupported
from dwarf.unit import file_of

if TYPE_CHECKING:
    from collections.abc import Iterator


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
