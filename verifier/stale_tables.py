"""Is a table as it was that a branch reads, though the labels moved that it leads to?

The problem: data that is the same in OUT is taken for other numbers than distances, so a table
that nobody moved at all isn't noticed in it (`label_tables`). The branch that reads the table tells
of it (`dispatch`).

The rule: the table goes up to the end of the object that begins with it, or, where it is in none,
up to the next place that anything names, and each of its numbers leads from the base to an
instruction of the function. Nothing is asked where it isn't so, where a relocation fills a part of
it (`relocations` does that), and of tables behind their branch (`regions`). If all numbers are as
they were, no label of them may have moved; if some aren't, `label_tables` asks for all.
"""

from __future__ import annotations

import bisect
import functools
from typing import TYPE_CHECKING

from nopfix.verifier import label_tables
from nopfix.verifier.dispatch import dispatches
from nopfix.verifier.elf import STT_OBJECT
from nopfix.verifier.extents import NOWHERE, Extents
from nopfix.verifier.label_tables import Base, LabelTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nopfix.verifier.code import Code
    from nopfix.verifier.dispatch import Read
    from nopfix.verifier.elf import Object, Section
    from nopfix.verifier.names import Reference
    from nopfix.verifier.pairing import Pairing
    from nopfix.verifier.report import Findings


class Checker:
    """Looks for the stale tables of an object, one code section at a time."""

    def __init__(
        self, old: Object, new: Object, references: Sequence[Reference], findings: Findings
    ) -> None:
        """`references` are the relocations that lead into IN."""
        self.old = old
        self.new = new
        self.findings = findings
        self.tables: list[LabelTable] = []
        """What tables were found in data."""
        self._references = references

    @functools.cached_property
    def references(self) -> dict[tuple[int, int], Reference]:
        """The references by section and word."""
        return {(r.section.number, r.relocation.place & ~3): r for r in self._references}

    @functools.cached_property
    def named(self) -> dict[int, list[int]]:
        """By section, the offsets that have a name or are referred to, in order."""
        found: dict[int, set[int]] = {}
        for reference in self._references:
            found.setdefault(reference.number, set()).add(reference.offset)
        for symbol in self.old.symbols:
            found.setdefault(symbol.section, set()).add(symbol.value)
        return {number: sorted(offsets) for number, offsets in found.items()}

    @functools.cached_property
    def objects(self) -> dict[int, Extents]:
        """By section, where its objects lie."""
        found: dict[int, list[range]] = {}
        for symbol in self.old.symbols:
            if symbol.type == STT_OBJECT and symbol.size:
                extent = range(symbol.value, symbol.value + symbol.size)
                found.setdefault(symbol.section, []).append(extent)
        return {number: Extents(parts) for number, parts in found.items()}

    @functools.cached_property
    def filled(self) -> dict[int, list[int]]:
        """By section, the places that relocations fill, in order."""
        return {
            number: sorted(relocation.place for relocation in relocations)
            for number, relocations in self.old.relocations.items()
        }

    def find(self, code: Code) -> list[LabelTable]:
        """The tables that the functions of a code section read."""
        tables = []
        for function, found in dispatches(code, lambda: self.references):
            read, number = found.read, code.section.number
            section, start = self.old.sections[read.table.section], read.table.offset
            known = section.executable and start in code.regions.entries
            elsewhere = section.executable and section.number != number
            readable = 0 <= start < len(section.data) and read.step >= read.size
            if found.base.section != number or not readable or elsewhere or known:
                continue
            base = Base(number, found.base.offset, found.base.side, function.start, function.stop)
            table = self._table(section, base, read)
            if table is not None:
                self.findings.count("table of a branch")
                tables.append(table)
        self.tables += [t for t in tables if not self.old.sections[t.section].executable]
        return tables

    def _table(self, section: Section, base: Base, read: Read) -> LabelTable | None:
        """A table from where it begins to its end; None where that can't be told."""
        start, size = read.table.offset, read.size
        named = self.named.get(section.number, [])
        behind = bisect.bisect_right(named, start)
        stop = named[behind] if behind < len(named) else len(section.data)
        for extent in self.objects.get(section.number, NOWHERE).around(start):
            if start - extent.start >= read.step:
                return None  # perhaps of an index that doesn't count from 0
            stop = min(extent.stop, len(section.data))
        every = range(start, stop - size + 1, read.step)
        targets = []
        for place in every:
            entry = section.data[place : place + size]
            target = base.place + int.from_bytes(entry, "little", signed=read.signed)
            if target % 4 or not base.start <= target < base.end:
                return None
            targets.append(target)
        filled = self.filled.get(section.number, [])
        is_filled = bisect.bisect_left(filled, start) < bisect.bisect_left(filled, stop)
        if len(every) < label_tables.FEWEST or is_filled:
            return None
        return LabelTable(section.number, every, size, base, tuple(targets))

    def check(self, tables: list[LabelTable], pairing: Pairing) -> None:
        """Report those of a code section's tables that are as they were and should not be."""
        for table in tables:
            old, new = self.old.sections[table.section], self.new.sections[table.section]
            stale = None
            for place, wanted in label_tables.numbers(table, pairing):
                there = pairing.word(place) if old.executable else place
                number = old.data[place : place + table.size]
                if there is None or new.data[there : there + table.size] != number:
                    break
                if wanted not in (None, number) and stale is None:
                    stale = place, there, number, wanted
            else:
                if stale:
                    self._differ(old, *stale)

    def _differ(
        self, section: Section, place: int, there: int, number: bytes, wanted: bytes
    ) -> None:
        values = (int.from_bytes(each, "little", signed=True) for each in (number, wanted))
        text = "a branch reads this table, whose labels moved: {} is {} in OUT"
        self.findings.differ("stale-table", section.name, place, there, text.format(*values))
