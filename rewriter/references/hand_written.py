"""Numbers and places that only assembly has, and that count bytes of code: refused if they change.

The problem: an assembler resolves what a program in assembly says of its own code, and leaves no
trace of it: ``f_size = . - f`` is a symbol with a number, ``.quad f, .-f`` an address and a number,
and behind ``.org 0x100`` lies what has to lie there.  A slot makes each of them stale.

The rule: refuse where the object shows that it can be such a number or place and that it changes:

- a symbol of no section (SHN_ABS) whose value leads from a named place to the function's end or to
  one of the next named places, or, where its name has the place's name in it, to any place; but one
  whose name has the name of the very place that lies so far into its section is that place's;
- in an object that no compiler has signed (.comment), a number beside the address of a place in
  code, in data, that leads from there to a place that is named or where a function ends;
- what follows zeros behind code, more of them than compilers and the assembler's alignment put
  there: it lies where it does because somebody wants it there.

Other numbers look like any other, see the limits in the README.

Source: gABI, symbol table (SHN_ABS); gas manual, ``.org``, ``.set``; ELFv2 ABI, 3.7 (tables for
tracebacks, which begin with one word of zeros).
"""

from __future__ import annotations

from bisect import bisect_right

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.object import elf, kernel_sections
from nopfix.rewriter.power.relocation import TYPES

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

    from nopfix.dwarf.offset_map import OffsetMap
    from nopfix.rewriter.object.program import Place, Program

_NEXT = 8
"""Named places behind a place that a symbol of no section may lead to."""
_FEWEST_ZEROS = 32
"""Bytes: a table for tracebacks and alignment to 16 have less in one piece."""
_BY_HAND = "put the slots into the source, where the assembler counts them, or leave them out there"


def check(program: Program, maps: Mapping[int, OffsetMap]) -> None:
    """Raise `Refusal` for such a number or place that changes as code moves by ``maps``."""
    for number, moved in maps.items():
        _check_fixed_places(program, number, moved)
    absolute = _absolute_symbols(program)
    hand_written = not any(header.name == ".comment" for header in program.obj.sections)
    if not absolute and not hand_written:
        return
    named = _named(program, maps)
    if absolute:
        _check_absolute(program, absolute, named, maps)
    if hand_written:
        _check_beside_addresses(program, named, maps)


def _named(program: Program, sections: Iterable[int]) -> Mapping[int, Sequence[int]]:
    """By section, the places that have names or are referred to, and ends of functions."""
    found: dict[int, set[int]] = {}
    for number in sections:
        functions = program.functions_in(number)
        found[number] = {0, program.obj.sections[number].size, *functions.starts}
        found[number].update(functions.ends, program.symbols_in(number)[0])
    for holder in program.filled:
        if not kernel_sections.is_elsewhere(program.obj.sections[holder]):
            for reference in program.references_to_code_from(holder):
                if reference.target in found:
                    found[reference.target].add(reference.offset)
    return {number: sorted(places) for number, places in found.items()}


def _changes(moved: OffsetMap, start: int, number: int) -> bool:
    """Whether a place and the one ``number`` bytes behind it, an end, come to lie otherwise."""
    return moved.after(start + number) - moved.start(start) != number


# -- symbols of no section -------------------------------------------------------------------------


def _absolute_symbols(program: Program) -> dict[int, list[str]]:
    """The names of the symbols that are numbers of words, by their value."""
    symbols = program.obj.symbols
    largest = max((program.obj.sections[number].size for number in program.code), default=0)
    found: dict[int, list[str]] = {}
    for index, section in enumerate(symbols.sections):
        value = symbols.values[index]
        if (
            section == elf.SHN_ABS
            and 0 < value <= largest
            and not value & 3
            and symbols.type(index) not in (elf.STT_FILE, elf.STT_SECTION)
        ):
            found.setdefault(value, []).append(symbols.name(index))
    return found


def _check_absolute(
    program: Program,
    absolute: Mapping[int, Sequence[str]],
    named: Mapping[int, Sequence[int]],
    maps: Mapping[int, OffsetMap],
) -> None:
    by_name = _by_name(program)
    anybodys: dict[int, str] = {}
    for value, names in absolute.items():
        for name in names:
            starts = [place for part in _parts(name) for place in by_name.get(part, ())]
            own = [(number, 0) for number, offset in starts if offset == value]
            if not own:
                anybodys.setdefault(value, name)
            for number, start in starts + own:
                moved = maps.get(number)
                if moved is None or start + value > named[number][-1]:
                    continue
                if _changes(moved, start, value):
                    raise _stale(program, name, (number, start))
    for number, moved in maps.items():
        places = named[number]
        for at, start in enumerate(places):
            for end in places[at + 1 : at + 1 + _NEXT]:
                if end - start in anybodys and _changes(moved, start, end - start):
                    raise _stale(program, anybodys[end - start], (number, start))


def _by_name(program: Program) -> Mapping[str, Sequence[Place]]:
    """The places in code that have a name: one is another file's, too, in an object of many."""
    symbols, code = program.obj.symbols, frozenset(program.code)
    found: dict[str, list[Place]] = {}
    for index, section in enumerate(symbols.sections):
        name = symbols.name(index)
        if name and section in code:
            found.setdefault(name, []).append((section, symbols.values[index]))
    return found


def _parts(name: str) -> Iterator[str]:
    """The names that ``name`` is made of, as far as underscores show: f of f_size and size_of_f."""
    words = name.split("_")[:_MOST_WORDS]
    for first in range(len(words)):
        for last in range(first + 1, len(words) + 1):
            yield "_".join(words[first:last])


_MOST_WORDS = 12


def _stale(program: Program, name: str, start: Place) -> Refusal:
    return Refusal(
        f"the symbol {name}, a number that may be the distance from here to a place behind it, with"
        " calls to fix between the two",
        section=program.name(start[0]),
        offset=start[1],
        function=program.functions_in(start[0]).at(start[1]),
        remedy=_BY_HAND,
    )


# -- numbers beside addresses ----------------------------------------------------------------------


def _check_beside_addresses(
    program: Program, named: Mapping[int, Sequence[int]], maps: Mapping[int, OffsetMap]
) -> None:
    for holder in program.filled:
        header = program.obj.sections[holder]
        if not kernel_sections.is_plain_data(header):
            continue
        contents = bytes(program.obj.contents(holder))
        filling = program.filling(holder)
        for reference in program.references_to_code_from(holder):
            row = TYPES.get(reference.type)
            if reference.target not in maps or row is None or row.addend != "target":
                continue
            for place, number in _beside(contents, filling, reference.place, row.data_size):
                start = reference.offset
                if _is_in(named[reference.target], start + number) and _changes(
                    maps[reference.target], start, number
                ):
                    raise Refusal(
                        f"a number that may be the distance from {program.name(reference.target)}"
                        f"+{start:#x}, whose address stands beside it, with calls to fix between",
                        section=header.name,
                        offset=place,
                        remedy=_BY_HAND,
                    )


def _beside(
    contents: bytes, filling: Container[int], place: int, size: int
) -> Iterator[tuple[int, int]]:
    """The numbers of 4 and 8 bytes directly in front of and behind the field at ``place``."""
    for width in (4, 8):
        for at in (place - width, place + size):
            if 0 <= at <= len(contents) - width:
                number = int.from_bytes(contents[at : at + width], "little")
                is_number = all(word not in filling for word in range(at, at + width, 4))
                if is_number and number and not number & 3:
                    yield at, number


def _is_in(places: Sequence[int], place: int) -> bool:
    at = bisect_right(places, place)
    return at > 0 and places[at - 1] == place


# -- fixed places ----------------------------------------------------------------------------------


def _check_fixed_places(program: Program, number: int, moved: OffsetMap) -> None:
    contents = bytes(program.obj.contents(number))
    zeros, at = bytes(_FEWEST_ZEROS), 0
    while (at := contents.find(zeros, at)) >= 0:
        end = at + len(zeros)
        while end < len(contents) and not contents[end]:
            end += 1
        end &= ~3
        if end < len(contents) and not end % 16 and moved.start(end) != end:
            values, _ = program.symbols_in(number)
            if _is_in(values, end) and not any(
                _lies_in_data(program, number, place) for place in (at, end)
            ):
                raise Refusal(
                    f"zeros up to here from {at & ~3:#x} on, as for a place that is to stay where"
                    " it is, with calls to fix in front of it",
                    section=program.name(number),
                    offset=end,
                    function=program.functions_in(number).at(end),
                    remedy=_BY_HAND,
                )
        at = max(end, at + 1)


def _lies_in_data(program: Program, number: int, place: int) -> bool:
    """Whether a symbol says that an object is there."""
    holder = program.holder(number, place)
    return holder is not None and program.obj.symbols.type(holder) == elf.STT_OBJECT
