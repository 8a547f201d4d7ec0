"""When entries grow, whoever counts bytes of .debug_info follows: every section, both formats."""

from __future__ import annotations

import pytest
from assembled import Step, needs_assembler, pair
from entries import (
    BASE_TYPE,
    COMPILE_UNIT,
    HIGH_PC,
    LOCATION,
    LOW_PC,
    RANGES,
    START_SCOPE,
    SUBPROGRAM,
    TYPE_UNIT,
    VARIABLE,
    Entry,
    Unit,
    Value,
    check_all,
    units,
)

from dwarf.encodings import (
    DW_FORM_addr,
    DW_FORM_sec_offset,
    DW_FORM_udata,
)

CODE = [Step(size=104), *(Step(call=i % 2 == 0) for i in range(12))]
LOW = Value(LOW_PC, DW_FORM_addr, "S0")


def grown() -> tuple[Entry, ...]:
    """Two functions whose lengths need another byte with the slots."""
    return tuple(
        Entry(SUBPROGRAM, (LOW, Value(HIGH_PC, DW_FORM_udata, f"E{end}-S0"))) for end in (5, 6)
    )


def types(number: int) -> tuple[Entry, ...]:
    return tuple(Entry(BASE_TYPE, (), label=f"D{number}_{name}") for name in "ab")


def aranges(number: int, offset: str) -> str:
    return f"""
    .4byte 2f-1f
    1: .2byte 2
    {offset} U{number}
    .byte 8, 0
    .p2align 4
    .8byte S0, E12-S0, 0, 0
    2:
    """


def names_of(number: int, offset: str, flags: str) -> str:
    """A set of .debug_pubnames or of its kin."""
    entries = "".join(f'{offset} D{number}_{n}-U{number}\n{flags}\n.asciz "{n}"\n' for n in "ba")
    wide = "8" in offset
    length = ".4byte -1\n.8byte 2f-1f" if wide else ".4byte 2f-1f"
    return f"""
    {length}
    1: .2byte 2
    {offset} U{number}, Z{number}-U{number}
    {entries}
    {offset} 0
    2:
    """


def index(offset: str) -> str:
    """.debug_names over two compilation units and a type unit."""
    length = ".4byte -1\n.8byte 2f-1f" if "8" in offset else ".4byte 2f-1f"
    return f"""
    .section .debug_names,"",@progbits
    {length}
    1: .2byte 5, 0
    .4byte 2, 1, 0, 0, 3, 4f-3f, 0
    {offset} U0, U1
    {offset} U2
    {offset} 0, 0, 0
    {offset} 6f-6f, 5f-6f, 7f-6f
    3: .uleb128 1, 0x24, 1, 0xb, 3, 0x13, 0, 0   # DW_IDX_compile_unit, DW_IDX_die_offset
    .uleb128 2, 0x24, 2, 0xb, 3, 0x13, 0, 0      # DW_IDX_type_unit
    .uleb128 0
    4:
    6: .uleb128 1
    .byte 1
    .4byte D1_b-U1
    .byte 0
    5: .uleb128 1
    .byte 0
    .4byte D0_a-U0
    .byte 0
    7: .uleb128 2
    .byte 0
    .4byte D2_b-U2
    .byte 0
    2:
    """


@needs_assembler
@pytest.mark.parametrize("wide", [False, True])
def test_every_index_of_entries_follows_them(wide: bool) -> None:
    offset = ".8byte" if wide else ".4byte"
    written = [
        Unit(Entry(COMPILE_UNIT, (LOW,), (*grown(), *types(0))), wide=wide),
        Unit(Entry(COMPILE_UNIT, (LOW,), (*types(1), *grown())), wide=wide),
        Unit(
            Entry(TYPE_UNIT, (), (*grown(), *types(2))),
            wide=wide,
            kind=2,
            more=f".8byte 7\n{offset} D2_a-U2",
        ),
    ]
    text = units(*written)
    for name, flags in (
        (".debug_pubnames", ""),
        (".debug_pubtypes", ""),
        (".debug_gnu_pubnames", ".byte 0x30"),
        (".debug_gnu_pubtypes", ".byte 0x90"),
    ):
        text += f'.section {name},"",@progbits\n'
        text += "".join(names_of(number, offset, flags) for number in (1, 0))
    text += index(offset)
    if not wide:
        text += '.section .debug_aranges,"",@progbits\n' + aranges(1, offset) + aranges(0, offset)
    rewritten = check_all(pair({".text": CODE}, text))
    assert rewritten[".debug_info"].map
    expected = {".debug_pubnames", ".debug_pubtypes", ".debug_gnu_pubnames", ".debug_names"}
    assert expected <= set(rewritten)


@needs_assembler
@pytest.mark.parametrize("version", [4, 5])
def test_expressions_in_location_lists_follow_the_entries_that_they_name(version: int) -> None:
    expression = """
    .byte 0xa8
    .uleb128 D0_b-U0            # DW_OP_convert
    .byte 0x99
    .4byte D0_a-U0              # DW_OP_call4
    .byte 0x9a
    .4byte D0_b                 # DW_OP_call_ref
    .byte 0xa0
    .4byte D0_a
    .sleb128 -4                 # DW_OP_implicit_pointer
    .byte 0x9f
    """
    holder = Entry(VARIABLE, (Value(LOCATION, DW_FORM_sec_offset, "L1"),))
    tree = Entry(COMPILE_UNIT, (LOW,), (*grown(), *types(0), holder))
    if version == 5:
        lists = f"""
        .section .debug_loclists,"",@progbits
        .4byte 2f-1f
        1: .2byte 5
        .byte 8, 0
        .4byte 0
        L1: .byte 4
        .uleb128 S1-S0, E4-S0, 4f-3f
        3: {expression}
        4: .byte 0
        2:
        """
    else:
        lists = f"""
        .section .debug_loc,"",@progbits
        L1: .8byte S1-S0, E4-S0
        .2byte 4f-3f
        3: {expression}
        4: .8byte 0, 0
        """
    rewritten = check_all(pair({".text": CODE}, units(Unit(tree, version)) + lists))
    assert rewritten[".debug_info"].map
    assert (".debug_loclists" if version == 5 else ".debug_loc") in rewritten


@needs_assembler
def test_a_scope_that_starts_in_pieces_names_a_list_of_ranges() -> None:
    ranges = """
    .section .debug_rnglists,"",@progbits
    .4byte 2f-1f
    1: .2byte 5
    .byte 8, 0
    .4byte 0
    R_1: .byte 4
    .uleb128 S0-S0, E5-S0
    .byte 0
    R_2: .byte 4
    .uleb128 S3-S0, E9-S0
    .byte 0
    2:
    """
    scope = Entry(VARIABLE, (Value(START_SCOPE, DW_FORM_sec_offset, "R_2"),))
    block = Entry(SUBPROGRAM, (Value(RANGES, DW_FORM_sec_offset, "R_1"),), (scope,))
    rewritten = check_all(
        pair({".text": CODE}, units(Unit(Entry(COMPILE_UNIT, (LOW,), (block,)))) + ranges)
    )
    assert rewritten[".debug_rnglists"].map
