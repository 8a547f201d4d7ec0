"""Which variables the object's own code stores into.

The problem: a number in data may be a constant of the program text or the first value of something
that varies, and only code tells which.  The rule: an address that an instruction makes of a
relocation stays in its register until another instruction writes that; a store in between, on the
way that falls through, goes where the address and its displacement say.  What lies behind an
index, or is reached through a pointer in memory, isn't looked for, nor is what prefixed
instructions store (their functions keep no TOC, and get no slots): what is found is stored into,
what isn't found may be.

Source: 64-bit ELFv2 ABI, 3.4.2 (how data is addressed); Power ISA 3.1, Book I, 3.3 (stores).
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.power import instruction, semantics
from nopfix.rewriter.power.relocation import ADDR64, TYPES

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from nopfix.rewriter.object.program import Place, Program, Reference

_MANY = 64
"""Instructions behind one that makes an address, that are looked at for stores."""


_CONDITIONAL = (instruction.BRANCH_CONDITIONAL, instruction.BRANCH_REGISTER)


def places(program: Program, sections: Container[int]) -> set[Place]:
    """The places in data ``sections`` (by number) that some instruction is seen to store at."""
    found: set[Place] = set()
    for code in program.code:
        for reference in program.references_from(code):
            row = TYPES.get(reference.type)
            if row is not None and row.worth == "address":
                found.update(_stores(program, reference, sections))
    return found


def _stores(program: Program, reference: Reference, sections: Container[int]) -> Iterator[Place]:
    """Where the instruction of one relocation, and those behind it, store in ``sections``."""
    words = program.words(reference.section)
    index = reference.place >> 2
    spot: Place | None = (reference.target, reference.offset)
    if semantics.store(words[index]) is not None:
        if reference.target in sections:
            yield reference.target, reference.offset
        return
    opcode = words[index] >> 26
    if opcode == instruction.LD:
        spot = _address_in(program, reference)
    elif opcode != instruction.ADDI:
        return
    if spot is None or spot[0] not in sections:
        return
    register = words[index] >> 21 & 31
    for store in _through(words, index + 1, register, program.filling(reference.section)):
        yield spot[0], spot[1] + store.displacement


def _address_in(program: Program, reference: Reference) -> Place | None:
    """The address that an entry of the TOC holds, if ``reference`` leads to one."""
    if not program.name(reference.target).startswith(".toc"):
        return None
    entry = program.reference_at(reference.target, reference.offset)
    if entry is None or entry.type != ADDR64 or entry.target <= 0:
        return None
    return entry.target, entry.offset


def _through(
    words: Sequence[int], index: int, register: int, filling: Container[int]
) -> Iterator[semantics.Store]:
    """The stores through ``register`` from word ``index`` on, as long as it holds what it did."""
    for at in range(index, min(index + _MANY, len(words))):
        word = words[at]
        if instruction.is_prefix(word):
            return
        store = semantics.store(word)
        if store is not None and store.base == register and 4 * at not in filling:
            yield store
        if semantics.written(word) >> register & 1 or _leaves(word):
            return


def _leaves(word: int) -> bool:
    """Whether the word behind ``word`` isn't reached from it: a branch that always branches."""
    opcode = word >> 26
    always = opcode in _CONDITIONAL and instruction.always_branches(word)
    return not word & 1 and (opcode == instruction.BRANCH or always)
