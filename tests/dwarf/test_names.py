"""An index of names follows the entries that it names, against the assembler."""

from __future__ import annotations

import pytest
from assembled import needs_assembler, pair
from entries import COMPILE_UNIT, TYPE_UNIT, Entry, Unit, check_all, units
from growing import CODE, LOW, grown, types

from nopfix.dwarf import names
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.offset_map import OffsetMap, resize
from nopfix.dwarf.section import Relocations, Section
from nopfix.dwarf.unit import MovedEntries, file_of


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
def test_the_index_follows_entries_of_compilation_units_and_type_units(wide: bool) -> None:
    offset = ".8byte" if wide else ".4byte"
    more = f".8byte 7\n{offset} D2_a-U2"
    written = [
        Unit(Entry(COMPILE_UNIT, (LOW,), (*grown(), *types(0))), wide=wide),
        Unit(Entry(COMPILE_UNIT, (LOW,), (*types(1), *grown())), wide=wide),
        Unit(Entry(TYPE_UNIT, (), (*grown(), *types(2))), wide=wide, kind=2, more=more),
    ]
    rewritten = check_all(pair({".text": CODE}, units(*written) + index(offset)))
    assert {".debug_info", ".debug_names"} <= set(rewritten)


def test_an_index_of_another_version_is_refused_when_entries_move() -> None:
    section = Section(3, ".debug_names", bytes.fromhex("04000000 06000000"), Relocations())
    grown = MovedEntries({1: OffsetMap([resize(0x20, 1)])}, {})
    with pytest.raises(Unsupported, match="version 6"):
        names.rewrite(section, file_of([section]), grown)
    assert names.rewrite(section, file_of([section]), MovedEntries({}, {})) is None
