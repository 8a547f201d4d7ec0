"""Sections of lists as assembly: the units that lists belong to, and their uses."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from nopfix.dwarf.section import Target
from nopfix.dwarf.unit import NO_VIEWS, AddressTable, ListUses, Unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assembled import Pair

CODE, OTHER = ".text", ".text.other"


def unit(pair: Pair, base: str | None = "S0") -> Unit:
    """A unit whose base is the label ``base`` and whose address table is the whole .debug_addr."""
    target = None if base is None else Target(pair.plain.numbers[CODE], pair.plain.symbols[base])
    addresses = None
    if ".debug_addr" in pair.plain.numbers:
        section = pair.plain.section(".debug_addr")
        addresses = AddressTable(section.number, len(section.data), 0, 8, section.relocations)
    return Unit(99, 0, 5, 4, 8, target, addresses)


def uses(pair: Pair, labels: Sequence[str], whose: Unit, views: dict[str, str]) -> list[ListUses]:
    symbols = pair.plain.symbols
    return [
        ListUses(
            whose,
            "locations",
            0,
            array("Q", [symbols[label] for label in labels]),
            array("Q", [symbols.get(views.get(label, ""), NO_VIEWS) for label in labels]),
            None,
        )
    ]
