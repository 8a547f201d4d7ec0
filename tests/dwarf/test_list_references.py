"""References to location lists and range lists, in objects and in split files."""

from __future__ import annotations

import pytest
from assembled import Pair, Step, needs_assembler, pair
from entries import (
    COMPILE_UNIT,
    LOCATION,
    LOCLISTS_BASE,
    LOW_PC,
    RANGES,
    SKELETON_UNIT,
    SUBPROGRAM,
    VARIABLE,
    Entry,
    Unit,
    Value,
    check_all,
    sections,
    units,
)

from nopfix.dwarf import debug
from nopfix.dwarf.encodings import (
    DW_FORM_addr,
    DW_FORM_data4,
    DW_FORM_data8,
    DW_FORM_exprloc,
    DW_FORM_indirect,
    DW_FORM_loclistx,
    DW_FORM_sec_offset,
    DW_FORM_string,
)
from nopfix.dwarf.errors import Unsupported

CODE = [Step(size=112), *(Step(call=i % 2 == 0) for i in range(10))]
LOCVIEWS = 0x2137
ADDRESSES = """
.section .debug_addr,"",@progbits
.4byte 2f-1f
1: .2byte 5
.byte 8, 0
T: .8byte S0
2:
"""


def location_lists(suffix: str = "") -> str:
    """Two lists, each behind its view numbers; a length in the first needs a byte more.

    They start at addresses, or at entry 0 of .debug_addr in a split file.
    """
    kind, first, second = 8, ".8byte S0", ".8byte S2"  # DW_LLE_start_length
    if suffix:
        kind, first, second = 3, ".uleb128 0", ".uleb128 0"  # DW_LLE_startx_length
    return f"""
    .section .debug_loclists{suffix},"",@progbits
    .4byte 2f-1f
    1: .2byte 5
    .byte 8, 0
    .4byte 2
    T_lists: .4byte L1-T_lists, L2-T_lists
    V1: .uleb128 0, 1
    L1: .byte {kind}
    {first}
    .uleb128 E4-S0, 1
    .byte 0x53, 0
    V2: .uleb128 2, 3
    L2: .byte {kind}
    {second}
    .uleb128 E9-{"S0" if suffix else "S2"}, 1
    .byte 0x54, 0
    2:
    """


def variable(index: str, views: str) -> Entry:
    return Entry(
        VARIABLE,
        (Value(LOCATION, DW_FORM_loclistx, index), Value(LOCVIEWS, DW_FORM_sec_offset, views)),
    )


@needs_assembler
@pytest.mark.parametrize("form", [DW_FORM_sec_offset, DW_FORM_loclistx, DW_FORM_indirect])
def test_references_follow_lists_that_grow(form: int) -> None:
    def place(number: int) -> Value:
        if form == DW_FORM_indirect:
            return Value(LOCATION, form, f"L{number}", DW_FORM_sec_offset)
        return Value(
            LOCATION, form, f"L{number}" if form == DW_FORM_sec_offset else f"{number - 1}"
        )

    tree = Entry(
        COMPILE_UNIT,
        (Value(LOW_PC, DW_FORM_addr, "S0"), Value(LOCLISTS_BASE, DW_FORM_sec_offset, "T_lists")),
        tuple(
            Entry(VARIABLE, (place(i), Value(LOCVIEWS, DW_FORM_sec_offset, f"V{i}")))
            for i in (2, 1, 2)
        ),
    )
    rewritten = check_all(pair({".text": CODE}, units(Unit(tree)) + location_lists()))
    assert rewritten[".debug_loclists"].map


@needs_assembler
def test_plain_offsets_of_a_split_file_follow_its_lists() -> None:
    skeleton = Entry(
        SKELETON_UNIT,
        (Value(0x76, DW_FORM_string, "f.dwo"), Value(0x73, DW_FORM_sec_offset, "T")),
    )
    # GCC counts view numbers from the table in a split file.
    split = Entry(COMPILE_UNIT, (), (variable("1", "V2-T_lists"), variable("0", "V1-T_lists")))
    text = units(Unit(skeleton, kind=4, more=".8byte 7"))
    text += units(Unit(split, kind=5, more=".8byte 7"), suffix=".dwo", first=1)
    rewritten = check_all(pair({".text": CODE}, text + ADDRESSES + location_lists(".dwo")))
    assert {".debug_info.dwo", ".debug_loclists.dwo"} <= set(rewritten)


@needs_assembler
@pytest.mark.parametrize("form", [DW_FORM_data4, DW_FORM_data8])
def test_a_plain_number_in_dwarf_3_is_no_list(form: int) -> None:
    member = Entry(VARIABLE, (Value(LOCATION, form, "5"), Value(0x38, form, "64")))
    tree = Entry(COMPILE_UNIT, (Value(LOW_PC, DW_FORM_addr, "S0"),), (member,))
    assert check_all(pair({".text": CODE}, units(Unit(tree, 3)))) == {}


@needs_assembler
def test_an_address_in_an_expression_goes_with_its_relocation() -> None:
    grown = (Value(LOW_PC, DW_FORM_addr, "S0"), Value(0x12, 0x0F, "E4-S0"))
    holder = Value(LOCATION, DW_FORM_exprloc, ".byte 3\n.8byte S6\n.byte 0x9f")
    tree = Entry(
        COMPILE_UNIT,
        (Value(LOW_PC, DW_FORM_addr, "S0"),),
        (Entry(SUBPROGRAM, grown), Entry(VARIABLE, (holder,))),
    )
    rewritten = check_all(pair({".text": CODE}, units(Unit(tree))))
    assert rewritten[".debug_info"].map


# -- refused --------------------------------------------------------------------------------------


def refused(*values: Value, entry: tuple[Value, ...] = (), lists: str = "") -> Unsupported:
    tree = Entry(COMPILE_UNIT, entry, (Entry(VARIABLE, values),))
    found: Pair = pair({".text": CODE}, units(Unit(tree)) + (lists or location_lists()))
    with pytest.raises(Unsupported) as caught:
        debug.rewrite(sections(found), found.maps)
    return caught.value


@needs_assembler
def test_an_index_past_the_table_is_refused() -> None:
    base = Value(LOCLISTS_BASE, DW_FORM_sec_offset, "T_lists")
    error = refused(Value(LOCATION, DW_FORM_loclistx, "2"), entry=(base,))
    assert "past the end of their table" in error.found


@needs_assembler
def test_an_index_without_a_table_is_refused() -> None:
    assert "without their table" in refused(Value(LOCATION, DW_FORM_loclistx, "0")).found


@needs_assembler
@pytest.mark.parametrize("where", ["S0", "T_lists + 4096", "T_lists - 4096"])
def test_a_list_outside_the_sections_of_lists_is_refused(where: str) -> None:
    error = refused(Value(LOCATION, DW_FORM_sec_offset, where))
    assert error.section == ".debug_info"
    assert "outside" in error.found or "past its end" in error.found


@needs_assembler
def test_an_offset_without_relocation_or_section_is_refused() -> None:
    error = refused(Value(RANGES, DW_FORM_sec_offset, "0"))
    assert "0 sections .debug_rnglists" in error.found


@needs_assembler
def test_view_numbers_without_a_list_are_refused() -> None:
    error = refused(Value(LOCVIEWS, DW_FORM_sec_offset, "V1"))
    assert "DW_AT_GNU_locviews" in error.found
