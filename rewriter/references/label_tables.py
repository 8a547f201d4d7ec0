"""Numbers beside the addresses of labels, that may be distances of the same labels.

The problem: a profiler's or a sequencer's table says of each part of a function where it begins and
how long it is, ``{&&a, &&b - &&a}``.  The address has a relocation, the length is a plain number.

The rule: in data that holds addresses of labels a number is taken for a distance where

- it lies beside such an address, and leads from that label to another one that is known;
- or it stands in the same place of each entry as other numbers, and all of them are distances of
  labels that are known; an entry is as long as the addresses' pattern.

Labels that are known are those that the data names and, with debug information, all others of their
function.  Only what GNU C can put labels into is looked at: a variable that is declared in a
function, and data without a symbol that names no place in code but labels of the debug information.

Source: GCC's manual, "Labels as Values".
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.object import elf, kernel_sections
from nopfix.rewriter.object.claims import is_declared_in_a_function
from nopfix.rewriter.power.relocation import TYPES

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence, Set

    from nopfix.dwarf.offset_map import OffsetMap
    from nopfix.rewriter.object.program import Place, Program, Reference

_SIZES = (8, 4, 2, 1)


class Table(Record):
    """Data that holds addresses of labels.

    ``data`` are its bytes, from offset ``start`` of ``section`` on; ``labels`` are the places of
    the addresses in ``data``, and what they name; ``filled`` are all bytes of it that relocations
    fill.  ``is_named`` tells that it is a variable that is declared in a function.
    """

    section: int
    start: int
    data: bytes
    labels: Mapping[int, Place]
    filled: Set[int]
    is_named: bool


def find(program: Program, moved: Container[int]) -> Iterator[Table]:
    """The tables that name labels in code sections that are ``moved``, by number."""
    for number in program.filled:
        header = program.obj.sections[number]
        if not kernel_sections.is_plain_data(header):
            continue
        named = [
            reference
            for reference in program.references_to_code_from(number)
            if reference.target in moved and _is_label(program, reference)
        ]
        if named:
            yield from _tables(program, number, named)


def _is_label(program: Program, reference: Reference) -> bool:
    """Whether it is the address of something inside of a function."""
    row = TYPES.get(reference.type)
    if row is None or row.addend != "target" or row.data_size != 8:
        return False
    start = program.functions_in(reference.target).start(reference.offset)
    return start is not None and start != reference.offset


def _tables(program: Program, number: int, named: Sequence[Reference]) -> Iterator[Table]:
    extents: dict[tuple[int, int], bool] = {}
    bounds: list[int] = []
    for reference in named:
        own = program.holder(number, reference.place)
        if own is not None and program.obj.symbols.type(own) == elf.STT_OBJECT:
            start = program.obj.symbols.values[own]
            if is_declared_in_a_function(program.obj.symbols.name(own)):
                extents[start, start + program.obj.symbols.sizes[own]] = True
        elif own is None:
            bounds = bounds or _bounds(program, number)
            at = bisect_right(bounds, reference.place)
            extents[bounds[at - 1], bounds[at]] = False
    contents = bytes(program.obj.contents(number))
    for (start, end), is_named in sorted(extents.items()):
        labels = {
            reference.place - start: (reference.target, reference.offset)
            for reference in named
            if start <= reference.place < end
        }
        filled = {
            place + byte - start
            for place, kind in program.fields_of(number)
            if start <= place < end
            for byte in range(TYPES[kind].data_size if kind in TYPES else 8)
        }
        yield Table(number, start, contents[start:end], labels, filled, is_named)


def _bounds(program: Program, number: int) -> list[int]:
    """Where something begins in a section or ends: what code names there, and what has symbols."""
    found = {0, program.obj.sections[number].size}
    values, indices = program.symbols_in(number)
    for value, index in zip(values, indices, strict=True):
        found.update((value, value + program.obj.symbols.sizes[index]))
    for code in program.code:
        found.update(r.offset for r in program.references_from(code) if r.target == number)
    return sorted(found)


def changed(
    table: Table, scopes: Sequence[Set[Place]], maps: Mapping[int, OffsetMap]
) -> tuple[int, Place] | None:
    """The offset of a number in ``table`` that may be a distance that changes, and its first label.

    ``scopes`` are the places of each function's labels, as far as the debug information has any.
    """
    named = set(table.labels.values())
    known = named.union(*(scope for scope in scopes if not scope.isdisjoint(named)))
    if not table.is_named and not any(named <= scope for scope in scopes):
        return None
    for place, number, bases in _beside(table):
        for section, offset in bases:
            if (section, offset + number) in known and _moves(section, offset, number, maps):
                return table.start + place, (section, offset)
    for places, numbers in _columns(table):
        label = _changes(numbers, known, maps)
        if label is not None:
            return table.start + places[0], label
    return None


def _moves(section: int, offset: int, number: int, maps: Mapping[int, OffsetMap]) -> bool:
    map = maps.get(section)
    return map is not None and map.start(offset + number) - map.start(offset) != number


def _changes(
    numbers: Sequence[int], labels: Set[Place], maps: Mapping[int, OffsetMap]
) -> Place | None:
    """A label that one of ``numbers`` counts from and that moves; None unless all are distances."""
    found = None
    for number in set(numbers):
        bases = [label for label in labels if (label[0], label[1] + number) in labels]
        if not bases:
            return None
        for section, offset in bases:
            if _moves(section, offset, number, maps):
                found = section, offset
    return found


def _numbers(table: Table) -> Iterator[tuple[int, int, int]]:
    """Offset, size and value of each number that may be a distance, in every size."""
    for size in _SIZES:
        for place in range(0, len(table.data) - size + 1, size):
            if table.filled.isdisjoint(range(place, place + size)):
                number = int.from_bytes(table.data[place : place + size], "little", signed=True)
                yield place, size, number


def _beside(table: Table) -> Iterator[tuple[int, int, list[Place]]]:
    """The numbers that aren't 0, each with the labels in front of it and behind it."""
    places = sorted(table.labels)
    for place, size, number in _numbers(table):
        if number and number % 4 == 0 and size > 1:
            at = bisect_left(places, place)
            yield place, number, [table.labels[near] for near in places[max(at - 1, 0) : at + 1]]


def _columns(table: Table) -> Iterator[tuple[list[int], list[int]]]:
    """Places and values of the numbers that stand at the same place of each entry."""
    length = _entry_length(table)
    columns: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
    for place, size, number in _numbers(table):
        if length % size == 0:
            places, numbers = columns.setdefault((size, place % length), ([], []))
            places.append(place)
            numbers.append(number)
    for places, numbers in columns.values():
        if any(numbers) and not any(number % 4 for number in numbers):
            yield places, numbers


def _entry_length(table: Table) -> int:
    """Bytes from one entry to the next: the shortest pattern of the addresses, all at the worst."""
    places = sorted(table.labels)
    for place in places[1:]:
        length = place - places[0]
        pattern = {first % length for first in places if first < place}
        if len(table.data) % length == 0 and pattern == {other % length for other in places}:
            return length
    return len(table.data)
