"""Variables that may hold the distance of two labels, with a slot between them.

GNU C programs can keep ``&&a - &&b`` in a static variable.  The assembler resolves that, and unless
an indirect branch is proved to use it (`resolve`), nothing tells the number from any other: the
object says no more than that a variable is 40.  The rule: refuse where the object shows that it can
be such a distance and that the distance changes.  That is

- a variable declared in a function, as the debug information says, all of whose numbers, in some
  size, are distances of that function's labels, and which the code doesn't store into.  Tables of
  other numbers don't look like that, and single ones hardly ever; what is stored into varies, and
  the distance of two labels doesn't;
- data that holds addresses of labels, whoever's it is: a number beside an address that leads from
  that label to another one that the data names; or numbers that stand in the same place of each
  entry, all of which are distances of the function's labels, as far as these are known.

Without debug information there are no labels but those that data names, and other numbers stay as
they are.

Source: GCC's manual, "Labels as Values".
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from nopfix.dwarf.record import TYPE_CHECKING, Literal, Record
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.object import elf
from nopfix.rewriter.object.claims import is_declared_in_a_function
from nopfix.rewriter.power import instruction
from nopfix.rewriter.references import label_tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

    from nopfix.dwarf.offset_map import OffsetMap
    from nopfix.dwarf.section import Target
    from nopfix.rewriter.object.program import Place, Program
    from nopfix.rewriter.options import Options
    from nopfix.rewriter.proof.analysis import Difference

_SIZES: Mapping[int, Literal["q", "i", "h", "b"]] = {8: "q", 4: "i", 2: "h", 1: "b"}
"""How `array` calls signed numbers of these many bytes."""


def check(
    program: Program,
    differences: Mapping[int, Sequence[Difference]],
    maps: Mapping[int, OffsetMap],
    options: Options,
) -> None:
    """Raise `Refusal` for a number that may be the distance of two labels that changes.

    ``maps`` and ``differences``, the numbers that are known to be distances, are by section number.
    The debug information, ``options.dwo`` with it, takes long to read: only objects pay for it that
    hold a number which may be a distance by its value.
    """
    moved = [program.functions_in(number) for number in maps]
    sizes = (end - start for f in moved for start, end in zip(f.starts, f.ends, strict=True))
    limit = max(sizes, default=0)
    suspects = _kept(program, _suspects(program, differences, limit))
    tables = list(label_tables.find(program, maps))
    if not suspects and not tables:
        return
    from nopfix.rewriter.references import dwarf_sections

    scopes = dwarf_sections.scopes(program.obj, options)
    for labels, variables in scopes:
        own = [variable for variable in variables if variable in suspects]
        places = _places(program, labels) if own else set()
        for section, offset in own:
            for numbers in suspects[section, offset].numbers:
                label = _changes(numbers, places, maps)
                if label is not None:
                    raise _refusal(program, (section, offset), label)
    known = [_places(program, labels) for labels, _ in scopes] if tables else []
    for table in tables:
        found = label_tables.changed(table, known, maps)
        if found is not None:
            raise _refusal(program, (table.section, found[0]), found[1])


def _refusal(program: Program, place: Place, label: Place) -> Refusal:
    section, offset = label
    return Refusal(
        "a number that may be the distance of two labels, with a slot between them",
        section=program.name(place[0]),
        offset=place[1],
        function=program.functions_in(section).at(offset),
        remedy="keep the labels' addresses instead, or, if it is another number,"
        " declare the variable outside of the function",
    )


class Suspect(Record):
    """A variable from ``start`` to ``end``, and its numbers for each size that they may have."""

    section: int
    start: int
    end: int
    numbers: list[Sequence[int]]


def _suspects(
    program: Program, differences: Mapping[int, Sequence[Difference]], limit: int
) -> Iterator[Suspect]:
    """Variables whose numbers, in some size, are all multiples of 4 and smaller than ``limit``.

    Addresses are no numbers, nor are distances that are known.
    """
    obj, symbols = program.obj, program.obj.symbols
    others: dict[int, list[int]] = {}
    for index, info in enumerate(symbols.infos):
        section = symbols.sections[index]
        if info & 15 != elf.STT_OBJECT or section <= 0:
            continue
        header = obj.sections[section]
        start = symbols.values[index]
        end = start + symbols.sizes[index]
        if header.type != elf.SHT_PROGBITS or header.flags & elf.SHF_EXECINSTR or end > header.size:
            continue
        if section not in others:
            places = [known.place for known in differences.get(section, ())]
            others[section] = sorted([*places, *(place for place, _ in program.fields_of(section))])
        if bisect_left(others[section], start) < bisect_left(others[section], end):
            continue
        found = list(_small_numbers(bytes(obj.contents(section)[start:end]), limit))
        if found and is_declared_in_a_function(symbols.name(index)):
            yield Suspect(section, start, end, found)


def _kept(program: Program, suspects: Iterable[Suspect]) -> dict[Place, Suspect]:
    """Those of ``suspects`` that the code isn't seen to store into, by section and offset."""
    kept = {(suspect.section, suspect.start): suspect for suspect in suspects}
    if kept:
        from nopfix.rewriter.references import stores

        starts = sorted(kept)
        for place in stores.places(program, {section for section, _ in kept}):
            index = bisect_right(starts, place) - 1
            own = kept.get(starts[index]) if index >= 0 else None
            if own is not None and own.section == place[0] and place[1] < own.end:
                del kept[starts[index]]
    return kept


def _small_numbers(data: bytes, limit: int) -> Iterator[Sequence[int]]:
    """``data`` as numbers of one size, for each size in which all may be distances of labels."""
    if not any(data):
        return
    for size, code in _SIZES.items():
        if len(data) % size == 0:
            numbers = elf.column(data, code)
            if -limit < min(numbers) and max(numbers) < limit and not any(n & 3 for n in numbers):
                yield numbers


def _places(program: Program, labels: Iterable[Target]) -> set[Target]:
    """Where ``labels`` may be: clang's debug information has them in front of padding."""
    found = {label for label in labels if label.section > 0}
    for label in list(found):
        index = label.offset >> 2
        own = program.words(label.section)
        while 0 <= index < len(own) and own[index] in instruction.NO_OPERATIONS:
            index += 1
        found.add(label._replace(offset=4 * index))
    return found


def _changes(
    numbers: Iterable[int], labels: Set[Target], maps: Mapping[int, OffsetMap]
) -> Target | None:
    """The label that one of ``numbers`` may count from, to another one behind or in front of a
    slot; None where one of the numbers is no distance of two labels, or none changes.
    """
    changed = None
    for number in set(numbers):
        pairs = [
            label for label in labels if label._replace(offset=label.offset + number) in labels
        ]
        if not pairs:
            return None
        for base in pairs:
            map = maps.get(base.section)
            if map and map.start(base.offset + number) - map.start(base.offset) != number:
                changed = base
    return changed
