"""Tables in data of distances between labels.

The problem: a distance between two labels is a plain number once it is assembled, and no relocation
tells of it. LLVM's large code model has switch tables of such numbers, from the word behind a
`bl .+4` (llvm/lib/Target/PowerPC/PPCISelLowering.cpp, getPICJumpTableRelocBaseExpr), and programs
have tables of their own, from a label (GCC's manual, "Labels as Values"). Nothing in the file says
which numbers these are.

The rule: data that is the same in OUT is taken for other numbers. Where it isn't, it must be a
table, and it is one only if

- it begins where a relocation or a symbol says that something begins, and goes on up to the next
  such place, or as far as its numbers lead to instructions of one function from one base in it;
- the numbers are as close together as that allows: between them may be a structure's other members;
- the base is a label that a relocation names, or the word behind one that reads the program
  counter;
- the function jumps by CTR and refers to where the table begins, or, if none does, to its section;

or if the branch that reads it tells of it (`stale_tables`). Then each number of OUT has to be the
distance of the same two places there.
"""

from __future__ import annotations

import bisect
import functools
from typing import TYPE_CHECKING, NamedTuple

from nopfix.verifier import power
from nopfix.verifier.code import words_of
from nopfix.verifier.elf import SHF_ALLOC, SHT_PROGBITS
from nopfix.verifier.pairing import RET, START
from nopfix.verifier.regions import functions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nopfix.verifier.elf import Object, Section
    from nopfix.verifier.names import Reference
    from nopfix.verifier.pairing import AnyPairing
    from nopfix.verifier.regions import Functions

FEWEST = 2
"""Numbers that a table has at least."""
_KINDS = ((4, True, 64), (8, True, 64), (2, True, 2), (2, False, 2), (1, True, 1), (1, False, 1))
"""Bytes of a number, whether it is signed, bytes from one to the next at most: with others between
them, short numbers may lead somewhere by chance."""


class Base(NamedTuple):
    """What distances may count from: a place of a code section, and its function's extent."""

    number: int
    place: int
    side: str
    """RET where it is the program counter that an instruction reads."""
    start: int
    end: int


class LabelTable(NamedTuple):
    """Numbers of IN that may be distances from `base` to `targets`."""

    section: int
    places: Sequence[int]
    """Where each of them is."""
    size: int
    """Bytes of a number."""
    base: Base
    targets: tuple[int, ...]

    @property
    def offsets(self) -> Iterator[int]:
        """Of the bytes of its numbers."""
        return (place + byte for place in self.places for byte in range(self.size))


def find(old: Object, new: Object, references: Sequence[Reference]) -> list[LabelTable]:
    """What data that differs in OUT may be; of one place there may be more than one."""
    found: list[LabelTable] = []
    index = _Index(old, references)
    for section, counterpart in zip(old.sections, new.sections, strict=True):
        if section.executable or section.type != SHT_PROGBITS or not section.flags & SHF_ALLOC:
            continue
        if section.data == counterpart.data or section.size != counterpart.size:
            continue
        for start, changed, stop in _runs(old, section, counterpart, references):
            for base in _bases(index, section.number, start):
                for kind in _KINDS:
                    found += _table(section, range(start, stop), changed, base, kind)
    return found


def _runs(
    old: Object, section: Section, counterpart: Section, references: Sequence[Reference]
) -> Iterator[tuple[int, list[int], int]]:
    """Start, bytes that differ, and end of what lies between two places that have names."""
    named = {r.offset for r in references if r.number == section.number}
    for symbol in old.symbols:
        if symbol.section == section.number:
            named.update((symbol.value, symbol.value + symbol.size))
    places = sorted({0, *named, section.size})
    differing: dict[int, list[int]] = {}
    for offset, (a, b) in enumerate(zip(section.data, counterpart.data, strict=True)):
        if a != b:
            differing.setdefault(bisect.bisect_right(places, offset) - 1, []).append(offset)
    for at, changed in differing.items():
        yield places[at], changed, places[at + 1]


class _Index:
    """What the bases of tables are looked up in; each part is made when it is first asked for."""

    def __init__(self, old: Object, references: Sequence[Reference]) -> None:
        """`references` lead into `old`."""
        self._old = old
        self._references = references
        self._code: dict[int, tuple[tuple[int, ...], Functions, list[int]]] = {}
        self._users: dict[int, Mapping[int, list[int]]] = {}

    @functools.cached_property
    def _by_target(self) -> Mapping[tuple[int, int], list[Reference]]:
        found: dict[tuple[int, int], list[Reference]] = {}
        for reference in self._references:
            found.setdefault((reference.number, reference.offset), []).append(reference)
        return found

    def code(self, number: int) -> tuple[tuple[int, ...], Functions, list[int]]:
        """Words, functions, and labels in order of a code section."""
        if number not in self._code:
            symbols = [symbol for symbol in self._old.symbols if symbol.section == number]
            own = (r for r in self._references if r.number == number)
            labels = sorted({r.offset for r in own if r.side == START})
            words = words_of(self._old.sections[number].data)
            self._code[number] = words, functions(symbols), labels
        return self._code[number]

    def users(self, number: int, start: int) -> Mapping[int, list[int]]:
        """By code section, the places that refer to `start` in section `number`; where there are
        none, those that refer to any place in it.

        They do so at once, or by an address in data (the TOC) that they refer to.
        """
        own = self._users_of(self._by_target.get((number, start), ()))
        if own:
            return own
        if number not in self._users:
            self._users[number] = self._users_of(
                [r for r in self._references if r.number == number]
            )
        return self._users[number]

    def _users_of(self, named: Sequence[Reference]) -> Mapping[int, list[int]]:
        via = dict.fromkeys((r.section.number, r.relocation.place) for r in named)
        users: dict[int, list[int]] = {}
        for r in [*named, *(r for place in via for r in self._by_target.get(place, ()))]:
            if r.section.executable:
                users.setdefault(r.section.number, []).append(r.relocation.place)
        return users


def _bases(index: _Index, section: int, start: int) -> Iterator[Base]:
    """What distances may count from, in a table at `start` of a section."""
    for number, places in index.users(section, start).items():
        words, known, labels = index.code(number)
        for first in sorted({known.at(place) or 0 for place in places}):
            later = bisect.bisect_right(known.starts, first)
            end = [*known.starts[later : later + 1], 4 * len(words)][0]
            inside = words[first // 4 : end // 4]
            if not any(word & power.BCCTR_MASK == power.BCCTR for word in inside):
                continue
            for at, word in enumerate(inside, first // 4 + 1):
                if word in (power.BCL_NEXT, power.BL_NEXT):
                    yield Base(number, 4 * at, RET, first, end)
            for label in labels[
                bisect.bisect_left(labels, first) : bisect.bisect_left(labels, end)
            ]:
                yield Base(number, label, START, first, end)


def _table(
    section: Section, run: range, changed: list[int], base: Base, kind: tuple[int, bool, int]
) -> list[LabelTable]:
    """The numbers in `run` that lead from `base` to instructions, `changed` bytes among them."""
    size, signed, longest = kind
    for step in range(size, longest + 1, size):
        first = run.start + (changed[0] - run.start) % step // size * size
        places = range(first, run.stop - size + 1, step)
        targets = []
        for place in places:
            number = int.from_bytes(section.data[place : place + size], "little", signed=signed)
            target = base.place + number
            if target % 4 or not base.start <= target < base.end:
                break
            targets.append(target)
        table = LabelTable(section.number, places[: len(targets)], size, base, tuple(targets))
        if len(targets) >= FEWEST and set(changed) <= set(table.offsets):
            return [table]
    return []


def numbers(table: LabelTable, pairing: AnyPairing) -> Iterator[tuple[int, bytes | None]]:
    """Where each number of a table is in IN, and its bytes as they should be in OUT.

    `pairing` is that of the base's section. None: there are none that can be right.
    """
    origin = pairing.sides[table.base.side](table.base.place)
    for place, target in zip(table.places, table.targets, strict=True):
        there = pairing.sides[START](target)
        if origin is None or there is None:
            yield place, None
        else:
            distance = (there - origin) % (1 << 8 * table.size)
            yield place, distance.to_bytes(table.size, "little")


def follows(table: LabelTable, counterpart: Section, pairings: Mapping[int, AnyPairing]) -> bool:
    """Whether the table's numbers in OUT are the distances of the same places."""
    pairing = pairings.get(table.base.number)
    return pairing is not None and all(
        counterpart.data[place : place + table.size] == wanted
        for place, wanted in numbers(table, pairing)
    )
