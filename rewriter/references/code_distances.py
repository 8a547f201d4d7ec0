"""Distances that instructions and words in code hold without a relocation that says all of it.

The problem: hand-written code reads its program counter and addresses what lies at a known distance
from it (`program_counter`).  A word that counts from a base of its own has a relocation, but
carries ``place - base`` in its addend, and an address that was made of a label and a number looks
like any other address.

The rule: refuse where such a distance changes, or may.

- *Words in code*: a PC-relative one against an undefined symbol counts from ``place - addend``;
  against code of this object its base may be any place of its function.
- *Addresses between instructions*: one that is no multiple of 4 is that of no instruction; it is a
  label and a number (``&&a + 77``), and nothing says which label.

Source: GCC's manual, "Labels as Values"; 64-bit ELFv2 ABI, 3.5 (R_PPC64_REL32).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.object import elf, kernel_sections
from nopfix.rewriter.power.relocation import TYPES
from nopfix.rewriter.proof.analysis import TRACEBACK_TABLE
from nopfix.rewriter.references import counter_reads

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Mapping, Sequence

    from nopfix.dwarf.offset_map import OffsetMap
    from nopfix.rewriter.layout.plan import Code
    from nopfix.rewriter.object.program import Place, Program
    from nopfix.rewriter.proof.analysis import Analysis, Region


def check(
    program: Program,
    analysis: Analysis,
    sections: Iterable[Code],
    maps: Mapping[int, OffsetMap],
    plain: Container[str] = (),
) -> None:
    """Raise `Refusal` for a distance in code that changes, or may, and that nothing moves.

    ``sections`` are the code, as a sweep found it, and ``maps`` the offset maps of what moves of
    it, by section number; ``plain`` names sections whose PC-relative fields the user says are
    relative to themselves.
    """
    found = {code.number: code.found for code in sections}
    for number, moved in maps.items():
        regions = analysis.regions.get(number, ())
        data = {place for one in regions for place in range(one.start & ~3, one.end, 4)}
        targets = analysis.targets.get(number, ())
        words = program.words(number)
        code = counter_reads.Code(program, number, words, found[number], data, targets, moved)
        reads = list(counter_reads.find(code))
        if reads:
            from nopfix.rewriter.references import program_counter

            program_counter.check(code, reads)
        if program.name(number) not in plain:
            _check_words(program, number, analysis.base_relative, moved)
    _check_addresses(program, analysis.regions, maps)


_PLACE_RELATIVE = frozenset(
    n for n, row in TYPES.items() if row.addend == "place" and row.data_size
)
"""The types of data whose addend may carry a distance from the field."""

# -- words in code ---------------------------------------------------------------------------------


def _check_words(program: Program, number: int, proved: Container[Place], moved: OffsetMap) -> None:
    """Refuse a PC-relative word whose addend may carry a distance that changes."""
    symbols = program.obj.symbols
    for found in program.of_types(number, _PLACE_RELATIVE):
        place, addend = found.place, found.offset - symbols.values[found.symbol]
        if (number, place) in proved:
            continue
        if found.target > 0:
            is_symbol = not addend and symbols.type(found.symbol) != elf.STT_SECTION
            changes = not is_symbol and _may_change(program, number, place, moved)
        else:
            changes = moved.start(place) - moved.start(place - addend) != addend
        if changes:
            raise Refusal(
                "a word that counts from another place than its own, perhaps, with calls to fix"
                " between the two",
                section=program.name(number),
                offset=place,
                function=program.functions_in(number).at(place),
                remedy=f"if it is relative to itself, say --plain-section {program.name(number)}",
            )


def _may_change(program: Program, number: int, place: int, moved: OffsetMap) -> bool:
    """Whether something is inserted into the function around ``place``, in front of it."""
    start = program.functions_in(number).start(place)
    first = bisect_right(moved.places, start or 0)
    return first != bisect_right(moved.places, place)


# -- addresses between instructions ----------------------------------------------------------------


def _check_addresses(
    program: Program,
    regions: Mapping[int, Collection[Region]],
    maps: Mapping[int, OffsetMap],
) -> None:
    """Refuse an address in code that moves and that is no multiple of 4, unless it is data's.

    So is one in the midst of a traceback table, whose fields nobody names.
    """
    tables: dict[int, list[tuple[int, int]]] = {number: [] for number in maps}
    data: dict[int, list[tuple[int, int]]] = {number: [] for number in maps}
    for number in maps:
        for region in regions.get(number, ()):
            if region.kind == TRACEBACK_TABLE:
                tables[number].append((region.start + 1, region.end))
            else:
                data[number].append((region.start, region.end))
    for number in program.filled:
        if kernel_sections.is_elsewhere(program.obj.sections[number]):
            continue
        for reference in program.references_to_code_from(number):
            row = TYPES.get(reference.type)
            target, offset = reference.target, reference.offset
            if row is None or row.addend != "target" or target not in maps:
                continue
            if not offset & 3 and not _is_inside(tables[target], offset):
                continue
            if not _is_named_or_data(program, target, offset, data[target]):
                raise Refusal(
                    f"the address {program.name(target)}+{offset:#x}, which is"
                    " no instruction's: a label and a number, and nothing says which label",
                    section=program.name(number),
                    offset=reference.place,
                    remedy="keep the label's address, and add the number where it is used",
                )


def _is_inside(data: Sequence[tuple[int, int]], place: int) -> bool:
    index = bisect_right(data, (place, 1 << 64)) - 1
    return index >= 0 and place < data[index][1]


def _is_named_or_data(
    program: Program, section: int, offset: int, data: Sequence[tuple[int, int]]
) -> bool:
    values, _ = program.symbols_in(section)
    at = bisect_left(values, offset)
    return _is_inside(data, offset) or (at < len(values) and values[at] == offset)
