"""Who else reads a table of label differences.

The problem: an interpreter's program may be an array in which operands stand between the label
differences.  What leads to an instruction of the function may be an operand all the same, and one
that is changed is silently wrong.

The rule: every load in the function that may read an entry of the table has to be one whose entry
a jump goes through.  Loads from other members of a struct go in the same steps as the jumps, and
beside the entries.  What the code reads by an address that isn't known to be the table's isn't
seen: the compiler's own tables have none, and the program would have to hand it on.  Of an array
that a pointer goes through, which may be a program with operands, no address is handed on.

Source: GNU C's manual, "Labels as Values".
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.power import instruction, opcodes, semantics
from nopfix.rewriter.proof.indirect import (
    NO_INDEX,
    WALKED,
    Address,
    Distance,
    Indexed,
    Unresolved,
)
from nopfix.rewriter.proof.steps import steps

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterator

    from nopfix.rewriter.object.program import Place
    from nopfix.rewriter.proof.indirect import Value, Values
    from nopfix.rewriter.proof.switch_table import Table

Use = tuple[Address, int, "Place | None"]
"""What an entry is loaded by: a known address, and the register and place of an index.

Where a pointer goes through an array it's the array's first entry, and the place of the load.
"""


def find(slices: Values, tables: Collection[Table], uses: Collection[Use]) -> Place | None:
    """A load that may read an entry of ``tables``, but for those by one of ``uses``; None if none.

    ``tables`` are tables of plain numbers in data.
    """
    for place, address, size in _reads(slices):
        for table in tables:
            if _may_read(slices, table, address, size) and _use(slices, address, place) not in uses:
                return place
    return None


def _use(slices: Values, address: Address | Indexed, place: Place) -> Use:
    """By what the load at ``place`` reads from ``address``."""
    if isinstance(address, Address):
        return address, NO_INDEX, None
    if address.register == WALKED:
        return slices.array_entered(address) or address.base, WALKED, place
    return address.base, address.register, address.place


def hands_on(slices: Values, arrays: Collection[Place], leaving: Container[Place]) -> Place | None:
    """Where an address in one of ``arrays`` may go to where nobody sees what is read by it.

    To a function that is called, to memory, or back to the caller.  ``arrays`` are addresses in
    them, ``leaving`` the jumps that may lead out of the function.
    """
    spans = {(section, slices.facts.array(Address(section, at))) for section, at in arrays}
    for place, word in slices.live_words():
        for register in _handed_on(slices, place, word, place in leaving):
            try:
                values = slices.values(register, place)
            except Unresolved:
                return place
            for value in values:
                base = value if isinstance(value, Address) else getattr(value, "base", None)
                if base is not None and any(
                    base.section == section and span and span[0] <= base.offset <= span[1]
                    for section, span in spans
                ):
                    return place
    return None


def _handed_on(slices: Values, place: Place, word: int, is_leaving: bool) -> Iterator[int]:
    """The registers whose values leave the function at the instruction ``word``."""
    reaching = slices.reaching
    if instruction.is_prefix(word):
        suffix = slices.words[place[0]][(place[1] >> 2) + 1]
        if semantics.prefixed_store_base(word, suffix) >= 0:
            yield suffix >> 21 & 31
        return
    store = semantics.store(word)
    if store is not None:
        is_slot = store.other < 0 and reaching.is_frame(store.base, place)
        if store.source >= 0 and (not is_slot or reaching.stack_escapes()):
            yield store.source
    elif word == instruction.BLR:
        yield _FIRST_ARGUMENT
    elif (
        is_leaving
        or semantics.is_call(word)
        or (word >> 26 == instruction.BRANCH and slices.facts.relocated(place) is not None)
    ):
        for register in range(_FIRST_ARGUMENT, _LAST_ARGUMENT + 1):
            # What a call may have left there on some way is nobody's argument, nor what's behind.
            made = (one.place for one in reaching.definitions(register, place))
            if register > _FIRST_ARGUMENT and any(
                at is not None and semantics.is_call(slices.words[at[0]][at[1] >> 2]) for at in made
            ):
                return
            yield register


_FIRST_ARGUMENT, _LAST_ARGUMENT = 3, 10
"""Registers that arguments are passed in (64-bit ELFv2 ABI, 2.2.3.2), and results come back in."""


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
    array = slices.facts.array(table.address)
    if array and isinstance(address, Indexed) and address.register == WALKED:
        if array not in slices.arrays_entered(address):
            return False
        start = slices.array_entered(address)
        if start is None or address.step % table.step:
            return True
        distance = start.offset - table.address.offset
    elif not -before <= distance < table.end - table.address.offset:
        return False
    elif isinstance(address, Indexed):
        step = steps(slices, address.register, address.place)
        if step is None or step % table.step:
            return True
    behind = distance % table.step
    return behind < table.size or behind + size > table.step
