"""Who else reads a table of label differences.

The problem: an interpreter's program may be an array in which operands stand between the label
differences.  What leads to an instruction of the function may be an operand all the same, and one
that is changed is silently wrong.

The rule: every load in the function that may read an entry of the table has to be one whose entry
a jump goes through.  Loads from other members of a struct go in the same steps as the jumps, and
beside the entries.  What the code reads by an address that isn't known to be the table's isn't
seen: the compiler's own tables have none, and the program would have to hand it on.

Source: GNU C's manual, "Labels as Values".
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.power import instruction, opcodes, semantics
from nopfix.rewriter.proof.indirect import NO_INDEX, Address, Distance, Indexed, Unresolved
from nopfix.rewriter.proof.steps import steps

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from nopfix.rewriter.object.program import Place
    from nopfix.rewriter.proof.indirect import Value, Values
    from nopfix.rewriter.proof.switch_table import Table

Use = tuple[Address, int, "Place | None"]
"""What an entry is loaded by: a known address, and the register and place of an index."""


def find(slices: Values, tables: Collection[Table], uses: Collection[Use]) -> Place | None:
    """A load that may read an entry of ``tables``, but for those by one of ``uses``; None if none.

    ``tables`` are tables of plain numbers in data.
    """
    for place, address, size in _reads(slices):
        for table in tables:
            if _may_read(slices, table, address, size) and _use(address) not in uses:
                return place
    return None


def _use(address: Address | Indexed) -> Use:
    if isinstance(address, Address):
        return address, NO_INDEX, None
    return address.base, address.register, address.place


def _reads(slices: Values) -> Iterator[tuple[Place, Address | Indexed, int]]:
    """Where the function's loads are, what known address each may read, and how many bytes."""
    for place, word in slices.live_words():
        if place in slices.graph.suffixes:
            continue
        if instruction.is_prefix(word):
            suffix = slices.words[place[0]][(place[1] >> 2) + 1]
            row = opcodes.find_prefixed(word, suffix)
        else:
            row = opcodes.find(word)
        if row is None or "MEM(" not in row.formula:
            continue
        size = int(row.formula.partition(", ")[2].partition(")")[0])
        for value in _addresses(slices, place, word):
            if isinstance(value, (Address, Indexed)):
                yield place, value, size
            elif isinstance(value, Distance):
                yield place, Indexed(value.base, value.register, value.place), size


def _addresses(slices: Values, place: Place, word: int) -> Collection[Value]:
    """What a load may read from."""
    relocation = slices.facts.relocated(place)
    if relocation is not None:
        return (relocation[1],) if relocation[0] == "address" else ()
    try:
        if instruction.is_prefix(word):
            suffix = slices.words[place[0]][(place[1] >> 2) + 1]
            number = instruction.prefixed_number(word, suffix)
            return slices.addresses(suffix >> 16 & 31 or -1, -1, number, place)
        address = semantics.addressed(word)
        return slices.addresses(*address, place) if address is not None else ()
    except Unresolved:
        return ()


def _may_read(slices: Values, table: Table, address: Address | Indexed, size: int) -> bool:
    """Whether ``size`` bytes from ``address`` on may be of an entry of ``table``."""
    base = address if isinstance(address, Address) else address.base
    if base.section != table.address.section:
        return False
    distance = base.offset - table.address.offset
    # With an index it may be the address in front of the table that counts from 1.
    before = size - 1 if isinstance(address, Address) else table.step
    if not -before <= distance < table.end - table.address.offset:
        return False
    if isinstance(address, Indexed):
        step = steps(slices, address.register, address.place)
        if step is None or step % table.step:
            return True
    behind = distance % table.step
    return behind < table.size or behind + size > table.step
