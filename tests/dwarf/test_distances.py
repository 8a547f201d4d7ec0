"""Distances in debugging entries, and the sides of addresses, against the assembler."""

from __future__ import annotations

import pytest
from assembled import Step, needs_assembler, pair
from entries import (
    CALL_PC,
    CALL_RETURN_PC,
    CALL_SITE,
    CODE,
    COMPILE_UNIT,
    ENTRY_PC,
    GNU_CALL_SITE,
    HIGH_PC,
    LAST,
    LEXICAL_BLOCK,
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
    refused,
    sections,
    units,
)

from nopfix.dwarf import debug
from nopfix.dwarf.encodings import (
    DW_FORM_addr,
    DW_FORM_data1,
    DW_FORM_data2,
    DW_FORM_data4,
    DW_FORM_data8,
    DW_FORM_data16,
    DW_FORM_implicit_const,
    DW_FORM_indirect,
    DW_FORM_sdata,
    DW_FORM_udata,
)
from nopfix.dwarf.errors import Unsupported

# -- constants and sides --------------------------------------------------------------------------


@needs_assembler
@pytest.mark.parametrize(
    "form", [DW_FORM_data1, DW_FORM_data2, DW_FORM_data4, DW_FORM_data8, DW_FORM_data16]
)
@pytest.mark.parametrize("version", [4, 5])
def test_a_length_reaches_from_the_new_start_to_the_new_end(form: int, version: int) -> None:
    tree = compile_unit(*(block(i, j, form) for i in range(1, 9) for j in range(i + 1, 20, 3)))
    rewritten = check_all(pair({".text": CODE}, units(Unit(tree, version))))
    assert ".debug_info" in rewritten


@needs_assembler
def test_an_empty_range_stays_empty_behind_new_padding() -> None:
    empty = tuple(
        Entry(
            LEXICAL_BLOCK,
            (Value(LOW_PC, DW_FORM_addr, f"S{i}"), Value(HIGH_PC, DW_FORM_data4, "0")),
        )
        for i in range(LAST)
    )
    code = [Step(call=True, align=4), *CODE[1:]]
    check_all(pair({".text": code}, units(Unit(compile_unit(*empty)))))


@needs_assembler
def test_an_end_as_an_address_moves_behind_the_slot_and_in_front_of_padding() -> None:
    values = [
        (Value(LOW_PC, DW_FORM_addr, f"S{i}"), Value(HIGH_PC, DW_FORM_addr, f"E{i + 2}"))
        for i in range(LAST - 2)
    ]
    tree = compile_unit(*(Entry(LEXICAL_BLOCK, value) for value in values))
    check_all(pair({".text": CODE}, units(Unit(tree, 3))))


@needs_assembler
def test_return_addresses_stay_in_front_of_the_slot() -> None:
    calls = [i + 1 for i, step in enumerate(CODE) if step.call]
    sites = [Entry(CALL_SITE, (Value(CALL_RETURN_PC, DW_FORM_addr, f"R{i}"),)) for i in calls]
    gnu = [Entry(GNU_CALL_SITE, (Value(LOW_PC, DW_FORM_addr, f"R{i}"),)) for i in calls]
    label = [Entry(0x0A, (Value(LOW_PC, DW_FORM_addr, f"S{i}"),)) for i in calls]
    label += [Entry(CALL_SITE, (Value(CALL_PC, DW_FORM_addr, f"S{i - 1}"),)) for i in calls]
    check_all(pair({".text": CODE}, units(Unit(compile_unit(*sites, *gnu, *label)))))


@needs_assembler
def test_entry_points_move_as_addresses_and_as_offsets() -> None:
    def entry(start: int, at: int, *entry_pc: Value) -> Entry:
        return Entry(SUBPROGRAM, (*block(start, 20, DW_FORM_data8).values, *entry_pc))

    tree = compile_unit(
        *(entry(i, i + 3, Value(ENTRY_PC, DW_FORM_addr, f"S{i + 3}")) for i in range(9)),
        *(entry(i, i + 3, Value(ENTRY_PC, DW_FORM_data2, f"S{i + 3}-S{i}")) for i in range(9)),
        *(entry(i, i + 3, Value(ENTRY_PC, DW_FORM_udata, f"S{i + 3}-S{i}")) for i in range(9)),
    )
    check_all(pair({".text": CODE}, units(Unit(tree))))


@needs_assembler
def test_an_entry_point_counts_from_the_enclosing_scope() -> None:
    scopes = tuple(
        Entry(VARIABLE, (Value(START_SCOPE, form, f"S{i}-S2"),))
        for i in range(3, 20)
        for form in (DW_FORM_data2, DW_FORM_udata)
    )
    check_all(
        pair({".text": CODE}, units(Unit(compile_unit(block(2, 22, DW_FORM_data4, *scopes)))))
    )


@needs_assembler
def test_a_form_that_only_the_entry_tells_is_moved_too() -> None:
    low = Value(LOW_PC, DW_FORM_indirect, "S1", DW_FORM_addr)
    entries = (
        Entry(SUBPROGRAM, (low, Value(HIGH_PC, DW_FORM_indirect, "E9-S1", DW_FORM_data4))),
        Entry(SUBPROGRAM, (low, Value(HIGH_PC, DW_FORM_indirect, "E9-S1", DW_FORM_udata))),
        Entry(SUBPROGRAM, (low, Value(HIGH_PC, DW_FORM_indirect, "E9", DW_FORM_addr))),
        Entry(CALL_SITE, (Value(CALL_RETURN_PC, DW_FORM_indirect, "R2", DW_FORM_addr),)),
    )
    check_all(pair({".text": CODE}, units(Unit(compile_unit(*entries)))))


@needs_assembler
def test_several_code_sections_each_have_their_map() -> None:
    tree = compile_unit(
        block(2, 10, DW_FORM_data4),
        block(LAST + 3, LAST + 9, DW_FORM_data4),
        block(LAST + 1, LAST + 21, DW_FORM_data8),
    )
    check_all(pair({".text": CODE, ".text.cold": CODE}, units(Unit(tree), Unit(tree, 4, True))))


# -- refused --------------------------------------------------------------------------------------


@needs_assembler
def test_a_length_that_all_entries_of_an_abbreviation_share_is_refused() -> None:
    values = (
        Value(LOW_PC, DW_FORM_addr, "S1"),
        Value(HIGH_PC, DW_FORM_implicit_const, "16"),
    )
    assert "implicit_const" in refused(compile_unit(Entry(SUBPROGRAM, values))).found


@needs_assembler
def test_a_length_that_outgrows_its_field_is_refused() -> None:
    values = (Value(LOW_PC, DW_FORM_addr, "S0"), Value(HIGH_PC, DW_FORM_data1, "252"))
    code = [Step(size=240), *(Step(call=True) for _ in range(3))]
    found = pair({".text": code}, units(Unit(Entry(COMPILE_UNIT, values))))
    with pytest.raises(Unsupported, match="doesn't fit 1 bytes") as caught:
        debug.rewrite(sections(found), found.maps)
    assert caught.value.section == ".debug_info"
    assert caught.value.offset == len(found.plain.contents[".debug_info"]) - 1


@needs_assembler
def test_a_signed_length_grows_too() -> None:
    # gas writes differences of labels as .sleb128 in a form of its own; so plain numbers here.
    values = (Value(LOW_PC, DW_FORM_addr, "S0"), Value(HIGH_PC, DW_FORM_sdata, "60"))
    code = [Step(size=56), Step(call=True), Step()]
    found = pair({".text": code}, units(Unit(Entry(COMPILE_UNIT, values))))
    rewritten = debug.rewrite(sections(found), found.maps).own[found.plain.numbers[".debug_info"]]
    assert bytes(rewritten.data[-2:]) == b"\xc0\0"  # 64 takes two bytes as a signed number
    assert rewritten.data[0] == found.plain.contents[".debug_info"][0] + 1
