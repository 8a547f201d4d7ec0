"""Functions with labels and static variables: who may know the distance of two labels.

GNU C lets the initializer of a static variable subtract two labels of the function that it is
declared in, and of no other.  The assembler resolves that, so the object holds a number like any
other; that it may be such a distance is known only here, where the variable and the labels are
entries below one DW_TAG_subprogram.

Source: DWARF 5, sections 3.3.8 (labels), 4.1 (variables); GCC's manual, "Labels as Values".
"""

from __future__ import annotations

from nopfix.dwarf import leb128
from nopfix.dwarf.encodings import (
    DW_AT_location,
    DW_AT_low_pc,
    DW_FORM_addr,
    DW_OP_addr,
    DW_OP_addrx,
    DW_OP_GNU_addr_index,
    DW_TAG_label,
    DW_TAG_subprogram,
    DW_TAG_variable,
)
from nopfix.dwarf.entries import block_start, constant, walk
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.forms import BLOCKS, INDEXED_ADDRESSES, SIZES
from nopfix.dwarf.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nopfix.dwarf.entries import Value
    from nopfix.dwarf.section import Section, Target
    from nopfix.dwarf.survey import Surveyed


class Scope(Record):
    """The labels of one function and its variables with static storage, as section offsets."""

    labels: list[Target]
    variables: list[Target]


def scopes(section: Section, surveyed: Surveyed) -> Iterator[Scope]:
    """The functions of one unit that have two labels at least.

    ``section`` is the one that the unit lies in.  Nested functions count as part of the outer one.
    Raises `Unsupported` for a variable's location without an end.
    """
    if not any(
        abbreviation.tag == DW_TAG_label
        and DW_AT_low_pc in [a.name for a in abbreviation.attributes]
        for abbreviation in surveyed.table.values()
    ):
        return
    data = bytes(section.data)
    scope = Scope([], [])
    outer = None
    for depth, _, abbreviation, values in walk(data, surveyed.header, surveyed.table):
        tag = abbreviation.tag
        if outer is None or depth <= outer:
            if len(scope.labels) > 1:
                yield scope
            scope = Scope([], [])
            outer = depth if tag == DW_TAG_subprogram else None
        elif tag in (DW_TAG_label, DW_TAG_variable):
            found = scope.labels if tag == DW_TAG_label else scope.variables
            for value in values:
                target = _address(section, data, surveyed, value)
                if target is not None:
                    found.append(target)
    if len(scope.labels) > 1:
        yield scope


def _address(section: Section, data: bytes, surveyed: Surveyed, value: Value) -> Target | None:
    """The address in DW_AT_low_pc, or the one that is all of DW_AT_location's expression."""
    addresses = surveyed.unit.addresses
    if value.name == DW_AT_low_pc:
        if value.form == DW_FORM_addr:
            return section.relocations.target(value.place)
        if value.form in INDEXED_ADDRESSES and addresses is not None:
            return addresses.target(constant(data, value))
    elif value.name == DW_AT_location and SIZES[value.form] in BLOCKS:
        begin = block_start(data, value)
        if begin < value.end:
            if data[begin] == DW_OP_addr:
                return section.relocations.target(begin + 1)
            if data[begin] in (DW_OP_addrx, DW_OP_GNU_addr_index) and addresses is not None:
                try:
                    return addresses.target(leb128.unsigned(data, begin + 1)[0])
                except (IndexError, ValueError):
                    found = "an index without an end"
                    raise Unsupported(section.name, begin, found) from None
    return None
