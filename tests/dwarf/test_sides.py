"""Addresses by index: call sites, what starts at the same place, and split units."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from assembled import Pair, Step, needs_assembler, pair
from entries import (
    ADDR_BASE,
    BASE_TYPE,
    CALL_RETURN_PC,
    CALL_SITE,
    COMPILE_UNIT,
    HIGH_PC,
    LOCATION,
    LOW_PC,
    NAME,
    SKELETON_UNIT,
    SUBPROGRAM,
    TYPE,
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
    DW_FORM_addrx,
    DW_FORM_addrx1,
    DW_FORM_data4,
    DW_FORM_GNU_addr_index,
    DW_FORM_LLVM_addrx_offset,
    DW_FORM_loclistx,
    DW_FORM_ref4,
    DW_FORM_ref_udata,
    DW_FORM_sec_offset,
    DW_FORM_string,
)
from nopfix.dwarf.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

CODE = [Step(call=i % 2 == 1) for i in range(12)]
SLOT = "((E2-R2)/4)"
"""0 without the slots, 1 with them: what the two objects may differ in besides."""


def table(*entries: str, copies: Sequence[str] = (), name: str = "T", header: bool = True) -> str:
    """A table of .debug_addr; ``copies`` are entries that only the object with slots has."""
    lines = ['.section .debug_addr,"",@progbits']
    if header:
        lines += [f".4byte {name}_end-1f", "1: .2byte 5", ".byte 8, 0"]
    lines += [f"{name}:", *(f".8byte {entry}" for entry in entries)]
    lines += [f".if {SLOT}", *(f".8byte {copy}" for copy in copies), ".endif", f"{name}_end:"]
    return "\n".join(lines) + "\n"


def site(index: str, form: int = DW_FORM_addrx, label: str = "") -> Entry:
    return Entry(CALL_SITE, (Value(CALL_RETURN_PC, form, index),), label=label)


def unit_entry(*children: Entry) -> Entry:
    values = (Value(LOW_PC, DW_FORM_addr, "S0"), Value(ADDR_BASE, DW_FORM_sec_offset, "T"))
    return Entry(COMPILE_UNIT, values, children)


def function(index: str, length: str) -> Entry:
    values = (Value(LOW_PC, DW_FORM_addrx, index), Value(HIGH_PC, DW_FORM_data4, length))
    return Entry(SUBPROGRAM, values)


@needs_assembler
@pytest.mark.parametrize("form", [DW_FORM_addrx, DW_FORM_addrx1])
def test_an_entry_that_only_call_sites_use_is_a_return_address(form: int) -> None:
    tree = unit_entry(function("0", "E9-S0"), site("1", form), site("2", form), site("2", form))
    rewritten = check_all(pair({".text": CODE}, units(Unit(tree)) + table("S0", "R2", "R4", "S6")))
    assert rewritten[".debug_addr"].sides
    assert not rewritten[".debug_addr"].copies


@needs_assembler
def test_a_call_site_gets_an_entry_of_its_own_where_something_starts_at_its_own() -> None:
    tree = unit_entry(
        function("1", "E9-S2"), site(f"1+2*{SLOT}"), site("0"), site(f"1+2*{SLOT}"), site("2")
    )
    addresses = table("R4", "S2", "R6", copies=["R2"])
    rewritten = check_all(pair({".text": CODE}, units(Unit(tree)) + addresses))
    assert len(rewritten[".debug_addr"].copies) == 1


@needs_assembler
def test_a_copy_goes_to_the_end_of_its_own_table() -> None:
    first = Unit(unit_entry(function("0", "E9-S2"), site(f"0+2*{SLOT}")))
    second = Entry(
        COMPILE_UNIT,
        (Value(ADDR_BASE, DW_FORM_sec_offset, "V"),),
        (function("1", "E9-S4"), site(f"1+{SLOT}"), site("0")),
    )
    addresses = table("S2", "S6", copies=["R2"])
    addresses += table("R6", "S4", copies=["R4"], name="V")
    rewritten = check_all(pair({".text": CODE}, units(first, Unit(second)) + addresses))
    assert len(rewritten[".debug_addr"].copies) == 2


@needs_assembler
def test_units_that_share_a_table_know_what_the_other_starts_at() -> None:
    sites = Unit(unit_entry(site(f"1+{SLOT}")))
    starts = Unit(unit_entry(function("1", "E9-S2")))
    for written in ((sites, starts), (starts, sites)):
        addresses = table("S0", "S2", copies=["R2"])
        rewritten = check_all(pair({".text": CODE}, units(*written) + addresses))
        assert rewritten[".debug_addr"].copies


@needs_assembler
def test_a_location_list_that_starts_at_a_return_address_counts_as_a_start() -> None:
    lists = """
    .section .debug_loclists,"",@progbits
    .4byte 2f-1f
    1: .2byte 5
    .byte 8, 0
    .4byte 1
    L: .4byte 3f-L
    3: .byte 3          # DW_LLE_startx_length
    .uleb128 1, E5-S2, 1
    .byte 0x53, 0
    2:
    """
    tree = Entry(
        COMPILE_UNIT,
        (
            Value(ADDR_BASE, DW_FORM_sec_offset, "T"),
            Value(0x8C, DW_FORM_sec_offset, "L"),  # DW_AT_loclists_base
        ),
        (Entry(VARIABLE, (Value(LOCATION, DW_FORM_loclistx, "0"),)), site(f"1+{SLOT}")),
    )
    addresses = table("S0", "S2", copies=["R2"])
    rewritten = check_all(pair({".text": CODE}, units(Unit(tree)) + addresses + lists))
    assert rewritten[".debug_addr"].copies


@needs_assembler
def test_an_offset_from_an_entry_follows_the_code() -> None:
    tree = unit_entry(
        *(
            Entry(SUBPROGRAM, (Value(LOW_PC, DW_FORM_LLVM_addrx_offset, f"0,S{i}-S0"),
                               Value(HIGH_PC, DW_FORM_data4, f"E{i + 3}-S{i}")))
            for i in range(1, 9)
        ),
        *(
            Entry(CALL_SITE, (Value(CALL_RETURN_PC, DW_FORM_LLVM_addrx_offset, f"0,R{i}-S0"),))
            for i in (2, 4, 6)
        ),
    )  # fmt: skip
    check_all(pair({".text": CODE}, units(Unit(tree)) + table("S0")))


@needs_assembler
def test_an_index_outside_the_table_is_refused() -> None:
    found = pair({".text": CODE}, units(Unit(unit_entry(site("2")))) + table("S0", "R2"))
    with pytest.raises(Unsupported, match=r"address 2, which \.debug_addr doesn't have"):
        debug.rewrite(sections(found), found.maps)


# -- split units ----------------------------------------------------------------------------------


def skeleton(version: int, dwo_id: str = "0x1234") -> Unit:
    base = 0x73 if version == 5 else 0x2133
    values = [
        Value(LOW_PC, DW_FORM_addr, "S0"),
        Value(0x76 if version == 5 else 0x2130, DW_FORM_string, "f.dwo"),
        Value(base, DW_FORM_sec_offset, "T"),
    ]
    if version == 5:
        return Unit(Entry(SKELETON_UNIT, tuple(values)), kind=4, more=f".8byte {dwo_id}")
    values.append(Value(0x2131, 0x07, dwo_id))
    return Unit(Entry(COMPILE_UNIT, tuple(values)), version=4)


def split(version: int, *children: Entry) -> Unit:
    if version == 5:
        return Unit(Entry(COMPILE_UNIT, (), children), kind=5, more=".8byte 0x1234")
    return Unit(Entry(COMPILE_UNIT, (Value(0x2131, 0x07, "0x1234"),), children), version=4)


def split_pair(version: int, children: Sequence[Entry], addresses: str, more: str = "") -> Pair:
    text = units(skeleton(version)) + units(split(version, *children), suffix=".dwo", first=1)
    return pair({".text": CODE}, text + addresses + more)


@needs_assembler
@pytest.mark.parametrize("version", [4, 5])
def test_a_split_unit_takes_its_addresses_from_the_skeleton(version: int) -> None:
    form = DW_FORM_addrx if version == 5 else DW_FORM_GNU_addr_index
    function = Entry(SUBPROGRAM, (Value(LOW_PC, form, "0"), Value(HIGH_PC, DW_FORM_data4, "E9-S2")))
    addresses = table("S2", "R4", copies=["R2"], header=version == 5)
    children = [function, site("1", form), site(f"0+2*{SLOT}", form)]
    rewritten = check_all(split_pair(version, children, addresses))
    assert set(rewritten) == {".debug_info.dwo", ".debug_addr"}


def index_of_names() -> str:
    """.debug_gnu_pubnames and .debug_names that name entries of the split unit."""
    return """
    .section .debug_gnu_pubnames,"",@progbits
    .4byte 2f-1f
    1: .2byte 2
    .4byte U0, Z1-U1
    .4byte D2-U1
    .byte 0x30
    .asciz "two"
    .4byte D1-U1
    .byte 0x30
    .asciz "one"
    .4byte 0
    2:
    .section .debug_names,"",@progbits
    .4byte 2f-1f
    1: .2byte 5, 0
    .4byte 1, 0, 0, 0, 2, 4f-3f, 0      # one unit, two names, no hash table
    .4byte U0
    .4byte 0, 0                         # strings
    .4byte 0, 5f-6f                     # entries
    3: .uleb128 1, 0x24, 3, 0x13, 0, 0  # code 1: a base type, DW_IDX_die_offset as ref4
    .uleb128 0
    4:
    6: .uleb128 1
    .4byte D1-U1
    .byte 0
    5: .uleb128 1
    .4byte D2-U1
    .byte 0
    2:
    """


@needs_assembler
def test_indices_of_names_follow_a_split_unit_whose_entries_move() -> None:
    # The copy is entry 130, whose index takes a byte more than that of entry 1.
    children = [
        function("1", "E9-S2"),
        site(f"1+129*{SLOT}"),
        Entry(BASE_TYPE, (Value(TYPE, DW_FORM_ref4, "D2-U1"),), label="D1"),
        Entry(BASE_TYPE, (Value(TYPE, DW_FORM_ref_udata, "D1-U1"),), label="D2"),
    ]
    addresses = table("S0", "S2", *(["S0"] * 128), copies=["R2"])
    rewritten = check_all(split_pair(5, children, addresses, index_of_names()))
    assert rewritten[".debug_info.dwo"].map
    assert {".debug_gnu_pubnames", ".debug_names"} <= set(rewritten)


@needs_assembler
def test_indices_of_names_stay_where_no_entry_moves() -> None:
    children = [site("1"), *(Entry(BASE_TYPE, (), label=label) for label in ("D1", "D2"))]
    found = split_pair(5, children, table("S0", "R2"), index_of_names())
    assert set(check_all(found)) == {".debug_addr"}


@needs_assembler
def test_a_skeleton_without_its_split_unit_is_refused() -> None:
    found = pair({".text": CODE}, units(skeleton(5)) + table("S0"))
    with pytest.raises(Unsupported, match="isn't there") as caught:
        debug.rewrite(sections(found), found.maps)
    assert "--dwo" in caught.value.remedy


@needs_assembler
def test_a_split_unit_of_another_compile_is_refused() -> None:
    text = units(skeleton(5, "0x4321")) + units(split(5, site("0")), suffix=".dwo", first=1)
    found = pair({".text": CODE}, text + table("R2"))
    with pytest.raises(Unsupported, match="DWO id 0x1234"):
        debug.rewrite(sections(found), found.maps)


@needs_assembler
def test_the_names_of_split_files_are_read_from_the_skeletons() -> None:
    values = (*skeleton(5).entry.values, Value(0x1B, DW_FORM_string, "/folder"))
    unit = skeleton(5)._replace(entry=Entry(SKELETON_UNIT, values))
    found = pair({".text": CODE}, units(unit) + table("S0"))
    assert debug.split_names(sections(found)) == [(0x1234, "f.dwo", "/folder")]
    plain = pair({".text": CODE}, units(Unit(Entry(COMPILE_UNIT, (Value(NAME, 0x08, "f.c"),)))))
    assert debug.split_names(sections(plain)) == []
