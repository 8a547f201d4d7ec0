"""Where the program counter comes into a register.

The problem: of most code nothing counts from the program counter, and to follow what does
(`program_counter`) takes all that is known of instructions.  The rule: code that reads it is found
by what can put it into a register: ``addpcis``; ``mflr`` behind a branch that has set LR and goes
on there, or leads there within the function; a call of a function that does nothing but give its
caller the return address.

Source: Power ISA 3.1, Book I, 2.4 (bcl 20,31,$+4), 3.3 (D-form instructions, addpcis).
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.layout import calls
from nopfix.rewriter.power import instruction
from nopfix.rewriter.power.instruction import (
    BLR,
    LR,
    MFLR,
    branch_displacement,
    signed_field,
)
from nopfix.rewriter.power.relocation import BRANCHES

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Iterator, Sequence

    from nopfix.dwarf.offset_map import OffsetMap
    from nopfix.rewriter.object.program import Program
    from nopfix.rewriter.power.instruction import Instructions

_MFLR_BYTES = b"\xa6\x02"
"""The low half of ``mflr``, as it lies in memory."""
_ADDPCIS, _ADDPCIS_MASK = 0x4C000004, 0xFC00003E
_OF_ADDPCIS = bytes(4 * (_ADDPCIS >> 26)) + b"\1\1\1\1" + bytes(252 - 4 * (_ADDPCIS >> 26))
_FEW = 8
"""Instructions of a function that does nothing but give its caller the return address."""
_BY_HAND = "address it through a relocation, or put the slot into the source"


class Value(Record):
    """An address or a number; ``made`` are the places of the instructions that added to it.

    ``is_read`` tells that it is the program counter as it was read.
    """

    number: int
    made: frozenset[int] = frozenset()
    is_read: bool = False


Values = frozenset
"""Of `Value`: what a register, CTR, LR or a word of the stack may hold."""


class Code(Record):
    """One code section: what a sweep found in it, its data, and how it moves.

    ``data`` are the places of words that are data, ``targets`` what indirect branches lead to.
    """

    program: Program
    number: int
    words: Sequence[int]
    found: Instructions
    data: Collection[int]
    targets: Sequence[int]
    moved: OffsetMap

    def extent(self, place: int) -> tuple[int, int]:
        """Start and end of the function around ``place``; all of the section without one."""
        functions = self.program.functions_in(self.number)
        end = 4 * len(self.words)
        return functions.start(place) or 0, min(functions.end(place) or end, end)

    def refusal(self, found: str, place: int) -> Refusal:
        """What is to be said of the instruction or the word at ``place``."""
        return Refusal(
            f"{found}, with calls to fix between the two",
            section=self.program.name(self.number),
            offset=place,
            function=self.program.functions_in(self.number).at(place),
            remedy=_BY_HAND,
        )

    def changes(self, value: Value, distance: int) -> bool:
        """Whether what lies ``distance`` bytes from ``value`` comes to lie elsewhere from there."""
        old = value.number
        base = self.moved.before(old) if value.is_read else self.moved.start(old)
        return self.moved.start(old + distance) - base != distance


def find(code: Code) -> Iterator[tuple[int, int, Value]]:
    """Each read of the program counter: the place it is held from on, the register, the value."""
    words, found = code.words, code.found
    for place, register, value in _sums_of_addpcis(code):
        yield place, register, value
    reads = _places_of_mflr(code)
    if not reads:
        return
    entries = set(code.program.functions_in(code.number).starts)
    inner = {
        place: target
        for place, target in found.branches
        if target in reads
        and words[place >> 2] & 1
        and target not in entries
        and code.extent(place) == code.extent(target)
    }
    for place, target in inner.items():
        if not calls.keeps_lr(words, target >> 2):
            _check_words_between(code, place, target)
        yield target, LR, Value(place + 4, is_read=True)
    entered = {target for place, target in found.branches if target != place + 4}
    entered.update(code.targets, entries)
    for read in reads - entered:
        for place in _link_in_front(code, read, entered):
            if place not in inner and not _leaves_lr(code, place):
                yield place + 4, LR, Value(place + 4, is_read=True)
    helpers = dict(_helpers(code, reads))
    for place, target in calls_inside(code) if helpers else ():
        if target in helpers:
            yield place + 4, helpers[target], Value(place + 4, is_read=True)


def _places_of_mflr(code: Code) -> set[int]:
    contents = bytes(code.program.obj.contents(code.number))
    return {
        at
        for at in instruction.aligned_places(contents, _MFLR_BYTES)
        if at >> 2 < len(code.words)
        and code.words[at >> 2] & 0xFC1FFFFF == MFLR
        and at not in code.data
    }


def _sums_of_addpcis(code: Code) -> Iterator[tuple[int, int, Value]]:
    filling = code.program.filling(code.number)
    tops = bytes(code.program.obj.contents(code.number))[3::4].translate(_OF_ADDPCIS)
    index = tops.find(1)
    while index >= 0:
        word, place = code.words[index], 4 * index
        if word & _ADDPCIS_MASK == _ADDPCIS and place not in filling and place not in code.data:
            number = signed_field(word & 0xFFC0 | word >> 15 & 0x3E | word & 1, 16)
            value = Value(place + 4 + (number << 16), is_read=not number)
            yield place + 4, word >> 21 & 31, value
        index = tops.find(1, index + 1)


def _link_in_front(code: Code, read: int, entered: Container[int]) -> Iterator[int]:
    """The branch that sets LR in front of ``mflr`` at ``read``, if nothing else comes between.

    Behind a call that doesn't return compilers begin the next block, which something leads to.
    """
    start, _ = code.extent(read)
    for place in range(read - 4, start - 1, -4):
        word = code.words[place >> 2]
        if place in code.data or word == BLR or word & 0xFC000001 == instruction.BRANCH << 26:
            return
        if _writes_lr(word):
            if not instruction.is_mtlr(word):
                yield place
            return
        if place in entered:
            return


def _leaves_lr(code: Code, place: int) -> bool:
    """Whether the call at ``place`` comes back with LR as it was in front of it: `_mcount`'s."""
    reference = code.program.reference_at(code.number, place)
    name = code.program.obj.symbols.name(reference.symbol) if reference is not None else ""
    return name in calls.EXEMPT_NAMES or name.startswith(calls.EXEMPT_PREFIXES)


def _writes_lr(word: int) -> bool:
    """Whether ``word`` is ``mtlr`` or a branch with the link bit."""
    return instruction.is_mtlr(word) or (word >> 26 in instruction.BRANCHING and bool(word & 1))


def _helpers(code: Code, reads: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Functions that only give their caller the return address: entry, and the register of it."""
    functions = code.program.functions_in(code.number)
    for read in reads:
        start = functions.start(read)
        register = code.words[read >> 2] >> 21 & 31
        if start is None or read - start > 4 * _FEW:
            continue
        behind = code.words[(read >> 2) + 1 : (read >> 2) + _FEW]
        if BLR not in behind:
            continue
        from nopfix.rewriter.power import semantics

        for word in behind[: behind.index(BLR)]:
            if _writes_lr(word) or semantics.written(word) >> register & 1:
                break
        else:
            yield start, register


def calls_inside(code: Code) -> Iterator[tuple[int, int]]:
    """Place and target of each call in the section of a place in it."""
    for place, target in code.found.branches:
        if code.words[place >> 2] & 1:
            yield place, target
    for reference in code.program.of_types(code.number, BRANCHES):
        if reference.target == code.number and code.words[reference.place >> 2] & 1:
            yield reference.place, reference.offset


def _check_words_between(code: Code, place: int, target: int) -> None:
    """Refuse what may be a branch or a distance behind a ``bl`` that leads over it to read LR."""
    filling = code.program.filling(code.number)
    here = Value(place + 4, is_read=True)
    between = range(place + 4, target, 4)
    if len(between) > _FEW or any(other in between for _, other in code.found.branches):
        return
    for at in between:
        word = code.words[at >> 2]
        if at in filling:
            continue
        distance = branch_displacement(word)
        if distance is not None:
            changes = word & 1 or code.changes(Value(at), distance)
        else:
            number = signed_field(word, 32)
            changes = any(
                0 <= value.number + number <= 4 * len(code.words) and code.changes(value, number)
                for value in (here, Value(at))
            )
        if changes:
            raise code.refusal("a word that may count from the program counter", at)
