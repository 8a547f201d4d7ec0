"""The names of DWARF's numbers, against those that pyelftools has."""

from __future__ import annotations

import pytest
from elftools.dwarf import constants, dwarf_expr, enums

from nopfix.dwarf import encodings


def ours(family: str) -> dict[str, int]:
    return {name: value for name, value in vars(encodings).items() if name.startswith(family + "_")}


THEIRS = {
    "DW_AT": enums.ENUM_DW_AT,
    "DW_FORM": enums.ENUM_DW_FORM,
    "DW_TAG": enums.ENUM_DW_TAG,
    "DW_LLE": enums.ENUM_DW_LLE,
    "DW_RLE": enums.ENUM_DW_RLE,
    "DW_UT": enums.ENUM_DW_UT,
    "DW_OP": dwarf_expr.DW_OP_name2opcode,
    **{
        family: {
            name: value for name, value in vars(constants).items() if name.startswith(family + "_")
        }
        for family in ("DW_CFA", "DW_LNS", "DW_LNE")
    },
}
OWN = {"DW_LNS_extended_op"}
"""What the standard has no name for."""


@pytest.mark.parametrize("family", THEIRS)
def test_a_number_is_the_one_that_others_have_under_its_name(family: str) -> None:
    theirs = THEIRS[family]
    compared = {name: value for name, value in ours(family).items() if name in theirs}
    assert compared == {name: theirs[name] for name in compared}
    unknown = {name for name in ours(family) if name not in theirs}
    assert all("_GNU_" in name or "_LLVM_" in name or "_MIPS_" in name for name in unknown - OWN)


@pytest.mark.parametrize("family", ["DW_FORM", "DW_OP", "DW_CFA", "DW_LNS", "DW_RLE"])
def test_a_family_that_must_be_known_whole_is_whole(family: str) -> None:
    # Of the operations with a number in their name only the first one is here.
    known = set(ours(family).values())
    if family == "DW_OP":
        known |= set(range(encodings.DW_OP_lit0, encodings.DW_OP_breg0 + 32))
    others = ("user", "_GNU_", "AARCH64", "WASM", "DW_FORM_null")
    standard = {
        value
        for name, value in THEIRS[family].items()
        if isinstance(value, int) and not any(part in name for part in others)
    }
    standard -= {0x02} if family == "DW_FORM" else set()  # DWARF 1
    assert standard <= known


def test_a_number_has_its_name_in_its_family_and_others_stay_numbers() -> None:
    assert encodings.name("DW_AT", 0x11) == "DW_AT_low_pc"
    assert encodings.name("DW_LLE", 1) == "DW_LLE_base_addressx"
    assert encodings.name("DW_LLE_GNU", 1) == "DW_LLE_GNU_base_address_selection_entry"
    assert encodings.name("DW_FORM", 0x77) == "DW_FORM 0x77"
