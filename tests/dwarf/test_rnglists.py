"""Range lists: who names them, and which kinds of entries they have."""

from __future__ import annotations

from array import array

import pytest
from assembled import needs_assembler, pair
from entries import (
    COMPILE_UNIT,
    RANGES,
    START_SCOPE,
    SUBPROGRAM,
    VARIABLE,
    Entry,
    Unit,
    Value,
    check_all,
    units,
)
from growing import CODE, LOW

from nopfix.dwarf import encodings, rnglists
from nopfix.dwarf.encodings import DW_FORM_sec_offset
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.section import Relocations, Section, Target
from nopfix.dwarf.unit import NO_VIEWS, ListUses
from nopfix.dwarf.unit import Unit as Owner


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


def test_every_kind_of_range_means_the_kind_of_location_with_its_name() -> None:
    for kind, meaning in rnglists.KINDS.meanings.items():
        name = encodings.name("DW_RLE", kind)
        assert name.replace("DW_RLE", "DW_LLE") == encodings.name("DW_LLE", meaning)


def test_a_kind_of_entry_that_is_not_known_is_refused_by_its_number() -> None:
    data = bytes.fromhex("0a000000 0500 08 00 00000000 0800")
    section = Section(9, ".debug_rnglists", data, Relocations())
    owner = Owner(2, 0, 5, 4, 8, Target(1, 0), None)
    uses = [ListUses(owner, "ranges", 9, array("Q", [12]), array("Q", [NO_VIEWS]), None)]
    with pytest.raises(Unsupported, match="DW_RLE 0x8"):
        rnglists.rewrite(section, uses, {})
