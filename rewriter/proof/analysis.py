"""What is known of an object's code before anything moves.

The problem: between the bytes of a code section and the layout stand four questions.  Which bytes
are data?  Which numbers are distances that the assembler worked out?  Which relocations count from
a base of their own?  Where do indirect branches lead?  Those who find the answers (`data_in_code`,
`resolve`) and those who use them (`padding`, `code`, `pipeline`) share nothing but these values.
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nopfix.dwarf.offset_map import Side
    from nopfix.rewriter.errors import Refusal

SWITCH_TABLE = "switch table"
TRACEBACK_TABLE = "traceback table"
TOC_WORD = "TOC word"
TYPE_HASH = "type hash"
OBJECT = "object"
RELOCATED_DATA = "relocated data"
UNENTERED = "unentered data"

OR_LEAVE = ", or leave hand-written code as it is (--leave-unproved)"
"""The end of a remedy for code that can't be followed, where leaving it is still a way out."""


class Region(Record):
    """Bytes ``start`` to ``end`` of a code section that are data of ``kind``.

    ``alignment`` in bytes is what the assembler was asked for.
    """

    start: int
    end: int
    kind: str
    alignment: int


class Difference(Record):
    """A number that the assembler resolved: ``size`` bytes at ``place`` hold ``target - base``.

    ``target`` and ``base`` are offsets into section ``section``, which needn't be the one that the
    number is in.  ``target`` moves on ``side``, ``base`` on the start side.  Not ``signed`` are
    numbers that are read without a sign.
    """

    place: int
    size: int
    target: int
    side: Side
    base: int
    section: int
    signed: bool = True


class IndirectBranch(Record):
    """An indirect branch and what was proved of it.

    ``kind`` is "switch", "computed goto", "tail call", "return", "spill" for a value that LR only
    keeps, or "not followed".  ``reasons`` are the facts for `explain`.
    """

    section: str
    offset: int
    function: str | None
    kind: str
    reasons: tuple[str, ...]

    def explain(self) -> str:
        """One line: where, what, why."""
        where = f"{self.section}+{self.offset:#x}"
        if self.function:
            where += f" (in {self.function})"
        return f"{where}: {self.kind}: {'; '.join(self.reasons)}"


class Analysis(Record):
    """What `data_in_code.analyse` found; see the contracts in docs/architecture.md.

    ``targets`` are the offsets, by section, that tables and labels lead indirect branches to.
    ``read_addresses`` are, by section, start and end of the functions in which an indirect branch
    goes to an address from memory, which may be any label's of the function.  ``unproved`` says, of
    the sections that are left as they are because a proof failed, why; it's empty unless asked for.
    """

    regions: Mapping[int, Sequence[Region]]
    differences: Mapping[int, Sequence[Difference]]
    base_relative: Mapping[tuple[int, int], int]
    targets: Mapping[int, Sequence[int]]
    branches: Sequence[IndirectBranch]
    read_addresses: Mapping[int, Sequence[tuple[int, int]]] = {}
    unproved: Mapping[int, Refusal] = {}
