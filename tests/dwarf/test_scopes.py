"""Functions with labels and static variables, in objects and in split files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from assembled import needs_assembler, pair
from entries import (
    CODE,
    COMPILE_UNIT,
    LOCATION,
    LOW_PC,
    SUBPROGRAM,
    VARIABLE,
    Entry,
    Unit,
    Value,
    sections,
    units,
)

from nopfix.dwarf import debug
from nopfix.dwarf.encodings import (
    DW_FORM_addr,
    DW_FORM_exprloc,
    DW_OP_addr,
    DW_OP_fbreg,
    DW_TAG_label,
)
from nopfix.dwarf.section import Target

if TYPE_CHECKING:
    from nopfix.dwarf.scopes import Scope


def label(name: str) -> Entry:
    return Entry(DW_TAG_label, (Value(LOW_PC, DW_FORM_addr, name),))


def variable(place: str, operation: int = DW_OP_addr) -> Entry:
    operand = f".8byte {place}" if operation == DW_OP_addr else ".sleb128 8"
    return Entry(VARIABLE, (Value(LOCATION, DW_FORM_exprloc, f".byte {operation}\n{operand}"),))


def function(*children: Entry) -> Entry:
    return Entry(SUBPROGRAM, (Value(LOW_PC, DW_FORM_addr, "S0"),), children)


def found(*functions: Entry) -> list[Scope]:
    """The scopes of one unit; offsets are those of .text and of .data."""
    written = units(Unit(Entry(COMPILE_UNIT, (), functions)))
    both = pair({".text": CODE}, written + ".data\nV: .8byte 0, 0\nW: .8byte 0\n")
    code, data = both.plain.numbers[".text"], both.plain.numbers[".data"]
    scopes = list(debug.function_scopes(sections(both)))
    assert all(t.section == code for scope in scopes for t in scope.labels)
    assert all(t.section == data for scope in scopes for t in scope.variables)
    return scopes


@needs_assembler
def test_labels_and_static_variables_of_one_function_go_together() -> None:
    first = function(label("S1"), label("S3"), variable("V"))
    second = function(label("S5"), variable("W"), label("S9"))
    scopes = found(first, second)
    assert [len(scope.labels) for scope in scopes] == [2, 2]
    assert [[t.offset for t in scope.variables] for scope in scopes] == [[0], [16]]


@needs_assembler
@pytest.mark.parametrize(
    "children",
    [
        (),
        (label("S1"),),
        (label("S1"), variable("V")),
    ],
)
def test_a_function_without_two_labels_is_none(children: tuple[Entry, ...]) -> None:
    assert found(function(*children)) == []


@needs_assembler
def test_a_variable_on_the_stack_is_none() -> None:
    scopes = found(function(label("S1"), label("S3"), variable("", DW_OP_fbreg)))
    assert [scope.variables for scope in scopes] == [[]]


@needs_assembler
def test_what_a_nested_function_has_counts_as_part_of_the_outer_one() -> None:
    (scope,) = found(function(label("S1"), function(label("S3")), variable("V")))
    assert len(scope.labels) == 2
    assert isinstance(scope.variables[0], Target)
