"""Location lists: expressions that follow entries, and the lists of split DWARF 4."""

from __future__ import annotations

from array import array

import pytest
from assembled import needs_assembler, pair
from entries import COMPILE_UNIT, LOCATION, VARIABLE, Entry, Unit, Value, check_all, units
from growing import CODE, LOW, grown, types

from nopfix.dwarf import loclists
from nopfix.dwarf.encodings import DW_FORM_sec_offset
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.offset_map import OffsetMap, slot
from nopfix.dwarf.section import Relocations, Section, Target
from nopfix.dwarf.unit import NO_VIEWS, AddressTable, ListUses
from nopfix.dwarf.unit import Unit as Owner


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


ADDRESSES = Relocations([0, 8], [0, 1], [0, 0], [1, 1], [0x40, 0x43])
OWNER = Owner(2, 0, 4, 4, 8, None, AddressTable(7, 16, 0, 8, ADDRESSES))
MAPS = {1: OffsetMap([slot(0x44), slot(0x50)])}


def split(code: str) -> loclists.Moved:
    """Rewrite a .debug_loc.dwo that holds one list."""
    section = Section(9, ".debug_loc.dwo", bytes.fromhex(code), Relocations())
    uses = [ListUses(OWNER, "locations", 9, array("Q", [0]), array("Q", [NO_VIEWS]), None)]
    return loclists.rewrite(section, uses, MAPS)


def test_a_length_from_an_indexed_start_grows_with_the_code() -> None:
    moved = split("03 00 20000000 0100 53 00")  # DW_LLE_GNU_start_length_entry
    assert moved.rewritten is not None
    assert bytes(moved.rewritten.data).hex() == "0300280000000100" + "53" + "00"


def test_a_length_that_gcc_writes_two_too_small_stays_two_too_small() -> None:
    # From 0x43, one byte below an instruction, to 0x50: 13 bytes, written as 11.
    moved = split("03 01 0b000000 0100 53 00")
    assert moved.rewritten is not None
    assert bytes(moved.rewritten.data).hex() == "0301130000000100" + "53" + "00"


def test_the_result_says_at_which_entries_of_debug_addr_lists_start() -> None:
    assert split("03 01 20000000 0100 53 00").starts == {Target(7, 8)}
    assert split("01 00 04 00000000 04000000 0100 53 00").starts == {Target(7, 0)}


def test_a_kind_of_entry_that_is_not_known_is_refused_by_its_number() -> None:
    with pytest.raises(Unsupported, match="DW_LLE_GNU 0x7"):
        split("07 00 00")
