"""What in code depends on offsets: branches, prefixed instructions, switch and traceback tables.

All of it was resolved by the assembler and carries no relocation; IN and OUT are paired by now, so
each value in OUT can be held against where its target went.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from nopfix.verifier import power

if TYPE_CHECKING:
    from nopfix.verifier.code import Code
    from nopfix.verifier.pairing import Pairing
    from nopfix.verifier.report import Findings


class Checked:
    """One code section, paired: its branches and tables are held against the pairing."""

    def __init__(
        self, code: Code, pairing: Pairing, expanded: dict[int, int], new: bytes, findings: Findings
    ) -> None:
        """`expanded` says where the `b` of each expanded branch is; `new` is OUT's section."""
        self.code = code
        self.pairing = pairing
        self.expanded = expanded
        self.new = new
        self.findings = findings

    def differ(self, rule: str, old: int, new: int | None, text: str) -> None:
        """Report a difference at a place of IN."""
        self.findings.differ(rule, self.code.section.name, old, new, text)

    def word(self, place: int) -> int:
        """A word of OUT."""
        return int.from_bytes(self.new[place : place + 4], "little")

    def is_data(self, index: int, place: int) -> bool:
        """Whether a word that looks like a branch is as it was, where nothing enters it."""
        return self.word(place) == self.code.words[index] and not self.code.is_entered(index)

    def run(self) -> None:
        """Check all of it."""
        self.branches()
        self.distances()
        self.tables()
        self.tracebacks()

    def branches(self) -> None:
        """Every PC-relative branch leads to where its target went."""
        count = 0
        for index in self.code.branches:
            offset = index * 4
            place = self.expanded.get(offset, self.pairing.word(offset))
            if place is None:
                continue
            word = self.code.words[index]
            target = offset + power.displacement(word)
            reached = place + power.displacement(self.word(place))
            # bcl 20,31,$+4 reads the address of the next instruction.
            reads = target == offset + 4 and word & 1
            expected = self.pairing.ret(target) if reads else self.pairing.start(target)
            count += 1
            if self.pairing.meet(expected, reached) or self.is_data(index, place):
                continue
            if expected is None:
                self.differ("branch", offset, place, f"its target {target:#x} has no counterpart")
            else:
                self.differ(
                    "branch",
                    offset,
                    place,
                    f"goes to {target:#x} in IN, so to {expected:#x} in OUT, but reaches"
                    f" {reached:#x}",
                )
        self.findings.count("branch", count)

    def distances(self) -> None:
        """Every prefixed instruction reaches from its own place what it reached."""
        size = self.code.section.size
        for index in self.code.distances:
            offset, old = index * 4, self.code.words[index : index + 2]
            place = self.pairing.word(offset)
            if place is None or self.pairing.word(offset + 4) != place + 4:
                self.differ("displacement", offset, place, "has no counterpart")
                continue
            new = self.word(place), self.word(place + 4)
            target = offset + power.prefixed_displacement(*old)
            reached = place + power.prefixed_displacement(*new)
            # What isn't in the section is no place that anything knows.
            expected = (
                self.pairing.start(target) if 0 <= target <= size else target - offset + place
            )
            if new == old and reached != expected and self.is_data(index, place):
                continue
            if power.prefixed_shape(*old) != power.prefixed_shape(*new) or reached != expected:
                text = f"reaches {target:#x} in IN, so {expected or 0:#x} in OUT, but {reached:#x}"
                self.differ("displacement", offset, place, text)
        self.findings.count("displacement", len(self.code.distances))

    def tables(self) -> None:
        """Every entry of a switch table leads to where its target went."""
        for table in self.code.regions.tables:
            start = self.pairing.word(table.start)
            for number, target in enumerate(table.targets):
                offset = table.start + 4 * number
                place = self.pairing.word(offset)
                expected = self.pairing.start(target)
                if start is None or place is None or expected is None:
                    self.differ("switch-table", offset, place, "the entry has no counterpart")
                    continue
                (distance,) = struct.unpack_from("<i", self.new, place)
                if place != start + 4 * number or start + distance != expected:
                    self.differ(
                        "switch-table",
                        offset,
                        place,
                        f"entry {number} leads to {target:#x} in IN, so to {expected:#x} in OUT,"
                        f" but leads to {start + distance:#x}",
                    )
            self.findings.count("switch table entry", len(table.targets))

    def tracebacks(self) -> None:
        """tb_offset is the distance from the function's start to the traceback table."""
        for traceback in self.code.regions.tracebacks:
            self.findings.count("traceback table")
            if traceback.tb_offset_at is None:
                continue
            place = self.pairing.word(traceback.tb_offset_at)
            end = self.pairing.word(traceback.start)
            start = self.pairing.start(traceback.start - traceback.tb_offset)
            if place is None or end is None or start is None:
                self.differ("traceback", traceback.start, place, "has no counterpart")
                continue
            distance = self.word(place)
            if distance != end - start:
                self.differ(
                    "traceback",
                    traceback.tb_offset_at,
                    place,
                    f"tb_offset is {distance:#x}, the function has {end - start:#x} bytes in OUT",
                )
