"""When entries grow: all that counts bytes of .debug_info, against the assembler."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from assembled import Step, needs_assembler, pair
from entries import (
    BASE_TYPE,
    CALL_SITE,
    CODE,
    HIGH_PC,
    LOW_PC,
    NAME,
    SIBLING,
    SUBPROGRAM,
    TYPE,
    VARIABLE,
    Entry,
    Unit,
    Value,
    check_all,
    compile_unit,
    sections,
    units,
)

from nopfix.dwarf import debug
from nopfix.dwarf.encodings import (
    DW_FORM_addr,
    DW_FORM_exprloc,
    DW_FORM_ref1,
    DW_FORM_ref2,
    DW_FORM_ref4,
    DW_FORM_ref8,
    DW_FORM_ref_addr,
    DW_FORM_ref_udata,
    DW_FORM_string,
    DW_FORM_udata,
)
from nopfix.dwarf.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

LONG = [Step(size=64), *(Step(call=True) for _ in range(12)), *CODE]


def growing_tree(choice: random.Random, unit: int) -> Entry:
    """Entries with lengths as ULEB128 around 127 bytes, and references between them."""
    count = 30
    labels = [f"D{unit}_{i}" for i in range(count)]
    children = []
    for label in labels:
        other = choice.choice(labels)
        near = choice.choice((DW_FORM_ref4, DW_FORM_ref8, DW_FORM_ref2, DW_FORM_ref_udata))
        end = choice.randrange(6, 30)
        values = [
            Value(LOW_PC, DW_FORM_addr, "S0"),
            Value(HIGH_PC, DW_FORM_udata, f"E{end}-S0"),
            Value(TYPE, near, f"{other}-U{unit}"),
            Value(SIBLING, DW_FORM_ref_addr, other),
            Value(CALL_SITE, DW_FORM_exprloc, expression(choice, labels, unit)),
        ]
        children.append(Entry(SUBPROGRAM, tuple(values), label=label))
    return compile_unit(*children)


def expression(choice: random.Random, labels: Sequence[str], unit: int) -> str:
    def label() -> str:
        return choice.choice(labels)

    return choice.choice(
        (
            f".byte 0xa8\n.uleb128 {label()}-U{unit}",  # DW_OP_convert
            f".byte 0xa5\n.uleb128 3, {label()}-U{unit}",  # DW_OP_regval_type
            f".byte 0x99\n.4byte {label()}-U{unit}",  # DW_OP_call4
            f".byte 0x98\n.2byte {label()}-U{unit}",  # DW_OP_call2
            f".byte 0x9a\n.4byte {label()}",  # DW_OP_call_ref
            f".byte 0xa0\n.4byte {label()}\n.sleb128 -4",  # DW_OP_implicit_pointer
            f".byte 0xa4\n.uleb128 {label()}-U{unit}\n.byte 2,7,7",  # DW_OP_const_type
            # DW_OP_entry_value around a DW_OP_convert
            f".byte 0xa3\n.uleb128 6f-5f\n5:.byte 0xa8\n.uleb128 {label()}-U{unit}\n6:",
            # DW_OP_bra over an operation that may grow
            f".byte 0x28\n.2byte 6f-5f\n5:.byte 0xa8\n.uleb128 {label()}-U{unit}\n6:.byte 0x96",
        )
    )


@needs_assembler
@pytest.mark.parametrize("seed", range(6))
def test_references_follow_entries_that_grow(seed: int) -> None:
    choice = random.Random(seed)
    written = [Unit(growing_tree(choice, i)) for i in range(2)]
    rewritten = check_all(pair({".text": LONG}, units(*written)))
    assert rewritten[".debug_info"].map, "nothing grew: the test shows nothing"


@needs_assembler
def test_the_offset_of_a_type_unit_follows() -> None:
    unit = Unit(
        compile_unit(
            Entry(SUBPROGRAM, (Value(LOW_PC, DW_FORM_addr, "S0"),
                               Value(HIGH_PC, DW_FORM_udata, "E12-S0"))),
            Entry(BASE_TYPE, (), label="T"),
        ),
        kind=2,
        more=".8byte 0x1234\n.4byte T-U0",
    )  # fmt: skip
    rewritten = check_all(pair({".text": LONG}, units(unit)))
    assert rewritten[".debug_info"].map


@needs_assembler
def test_a_sibling_of_one_byte_that_would_overflow_is_refused() -> None:
    many = tuple(Entry(BASE_TYPE, (Value(NAME, DW_FORM_string, "x" * 30),)) for _ in range(7))
    grown = Entry(
        SUBPROGRAM, (Value(LOW_PC, DW_FORM_addr, "S0"), Value(HIGH_PC, DW_FORM_udata, "E12-S0"))
    )
    sibling = Entry(VARIABLE, (Value(SIBLING, DW_FORM_ref1, "255"),))
    found = pair({".text": LONG}, units(Unit(compile_unit(grown, *many, sibling))))
    with pytest.raises(Unsupported, match="doesn't fit"):
        debug.rewrite(sections(found), found.maps)
