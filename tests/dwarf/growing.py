"""Entries that grow with the slots, and others that these move."""

from __future__ import annotations

from assembled import Step
from entries import BASE_TYPE, HIGH_PC, LOW_PC, SUBPROGRAM, Entry, Value

from nopfix.dwarf.encodings import DW_FORM_addr, DW_FORM_udata

CODE = [Step(size=104), *(Step(call=i % 2 == 0) for i in range(12))]
LOW = Value(LOW_PC, DW_FORM_addr, "S0")


def grown() -> tuple[Entry, ...]:
    """Two functions whose lengths need another byte with the slots."""
    return tuple(
        Entry(SUBPROGRAM, (LOW, Value(HIGH_PC, DW_FORM_udata, f"E{end}-S0"))) for end in (5, 6)
    )


def types(number: int) -> tuple[Entry, ...]:
    """Two base types of unit ``number``, to be named."""
    return tuple(Entry(BASE_TYPE, (), label=f"D{number}_{name}") for name in "ab")
