"""What is noted of entries, by their abbreviation."""

from __future__ import annotations

import pytest
from assembled import needs_assembler
from entries import (
    CALL_PC,
    CALL_RETURN_PC,
    ENTRY_PC,
    HIGH_PC,
    LOW_PC,
    SUBPROGRAM,
    Entry,
    Value,
    compile_unit,
    refused,
)

from nopfix.dwarf import encodings
from nopfix.dwarf.encodings import DW_FORM_data4, DW_FORM_ref4


@needs_assembler
@pytest.mark.parametrize("name", [LOW_PC, HIGH_PC, ENTRY_PC, CALL_RETURN_PC, CALL_PC])
def test_an_address_in_a_form_of_another_class_is_refused(name: int) -> None:
    tree = compile_unit(Entry(SUBPROGRAM, (Value(name, DW_FORM_ref4, "8"),)))
    found = encodings.name("DW_AT", name) + " in DW_FORM_ref4, which is no address"
    assert refused(tree).found == found


@needs_assembler
def test_a_length_without_a_start_is_refused() -> None:
    tree = compile_unit(Entry(SUBPROGRAM, (Value(HIGH_PC, DW_FORM_data4, "8"),)))
    assert "DW_AT_low_pc" in refused(tree).found
