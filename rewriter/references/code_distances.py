"""Distances that instructions and words in code hold without a relocation that says all of it.

The problem: hand-written code reads its program counter (``bcl 20,31,$+4; mflr r``) and addresses
what lies at a known distance from it.  The assembler has resolved the distance, so a slot between
the two makes it stale.  A word that counts from a base of its own has a relocation, but carries
``place - base`` in its addend, and an address that was made of a label and a number looks like any
other address.

The rule: refuse where such a distance changes, or may.

- *From the program counter*: a register that ``mflr`` filled behind such a ``bcl`` may hold that
  address wherever the function uses it, and so may its copies and what was computed from it.  A
  displacement or a number that is added to it has to lead to the same spot as before.
- *Words in code*: a PC-relative one against an undefined symbol counts from ``place - addend``;
  against code of this object its base may be any place of its function.
- *Addresses between instructions*: one that is no multiple of 4 is that of no instruction; it is a
  label and a number (``&&a + 77``), and nothing says which label.

Source: Power ISA 3.1, Book I, 2.4 (bcl 20,31,$+4) and 3.3 (D-form instructions); GCC's manual,
"Labels as Values"; 64-bit ELFv2 ABI, 3.5 (R_PPC64_REL32).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.object import elf, kernel_sections
from nopfix.rewriter.power import instruction
from nopfix.rewriter.power.instruction import ADDI, ADDIS
from nopfix.rewriter.power.relocation import TYPES

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterator, Mapping, Sequence

    from nopfix.dwarf.offset_map import OffsetMap
    from nopfix.rewriter.object.program import Place, Program
    from nopfix.rewriter.proof.analysis import Analysis, Region

_READS_PC = frozenset((0x429F0005, 0x48000005))
"""``bcl 20,31,$+4`` and ``bl .+4``."""

_DS_FORM = frozenset((56, 57, 58, 61, 62))
_D_FORM = frozenset((ADDI, ADDIS, *range(32, 56), *_DS_FORM))
_OR, _ADD = 444, 266
_BRANCHES = frozenset(
    (instruction.BRANCH_CONDITIONAL, instruction.BRANCH, instruction.BRANCH_REGISTER)
)
_MANY = 64
"""Addresses that one register may hold: more are no program's."""
_BY_HAND = "address it through a relocation, or put the slot into the source"


def check(
    program: Program,
    analysis: Analysis,
    maps: Mapping[int, OffsetMap],
    plain: Container[str] = (),
) -> None:
    """Raise `Refusal` for a distance in code that changes, or may, and that nothing moves.

    ``maps`` are the offset maps of the code that moves, by section number; ``plain`` names sections
    whose PC-relative fields the user says are relative to themselves.
    """
    for number, moved in maps.items():
        data = [(region.start, region.end) for region in analysis.regions.get(number, ())]
        for read in _reads_of_pc(program, number, data):
            _check_read(program, number, read, data, moved)
        if program.name(number) not in plain:
            _check_words(program, number, analysis.base_relative, moved)
    _check_addresses(program, analysis.regions, maps)


# -- from the program counter ----------------------------------------------------------------------


class Read(Record):
    """The program counter ``value`` in ``register``, which ``mflr`` at ``place`` filled."""

    place: int
    register: int
    value: int


def _reads_of_pc(program: Program, number: int, data: Sequence[tuple[int, int]]) -> Iterator[Read]:
    """Where the code of a section puts its program counter into a general register."""
    words = program.words(number)
    functions = program.functions_in(number)
    for word in _READS_PC:
        index = _index(words, word, 0)
        while index >= 0:
            value = 4 * index + 4
            if not _is_inside(data, value - 4):
                end = min(functions.end(value - 4) or 4 * len(words), 4 * len(words))
                for place in range(value, end, 4):
                    if words[place >> 2] & 0xFC1FFFFF == instruction.MFLR:
                        yield Read(place, words[place >> 2] >> 21 & 31, value)
                    elif _writes_lr(words[place >> 2]):
                        break
            index = _index(words, word, index + 1)


def _index(words: Sequence[int], word: int, start: int) -> int:
    try:
        return words.index(word, start)
    except ValueError:
        return -1


def _writes_lr(word: int) -> bool:
    """Whether ``word`` is ``mtlr`` or a branch with the link bit."""
    return instruction.is_mtlr(word) or (word >> 26 in _BRANCHES and bool(word & 1))


def _is_inside(data: Sequence[tuple[int, int]], place: int) -> bool:
    index = bisect_right(data, (place, 1 << 64)) - 1
    return index >= 0 and place < data[index][1]


def _check_read(
    program: Program,
    number: int,
    read: Read,
    data: Sequence[tuple[int, int]],
    moved: OffsetMap,
) -> None:
    """Refuse what counts from ``read`` over an edit of the code.

    Every address that a register may hold anywhere in the function is taken to be there everywhere
    behind: that errs on the side of refusing, and such code is rare.
    """
    functions, words = program.functions_in(number), program.words(number)
    filling = program.filling(number)
    end = min(functions.end(read.place) or 4 * len(words), 4 * len(words))
    holds: dict[int, set[int]] = {read.register: {read.value}}
    numbers: dict[int, set[int]] = {}
    for place in range(read.place + 4, end, 4):
        word = words[place >> 2]
        if place in filling or _is_inside(data, place):
            continue
        target, values, distances = _sum(word, holds, numbers)
        found = set()
        for value in sorted(values):
            for distance in sorted(distances):
                if moved.start(value + distance) - moved.start(value) != distance:
                    raise Refusal(
                        f"a distance of {distance} bytes is added to the program counter, with"
                        " calls to fix between the two",
                        section=program.name(number),
                        offset=place,
                        function=functions.at(place),
                        remedy=_BY_HAND,
                    )
                found.add(value + distance)
        if found and target >= 0 and len(found) <= _MANY:
            holds.setdefault(target, set()).update(found)


def _sum(
    word: int, holds: Mapping[int, set[int]], numbers: dict[int, set[int]]
) -> tuple[int, Collection[int], Collection[int]]:
    """The register that an instruction fills, addresses and distances that it adds for that.

    ``holds`` are the addresses that registers may hold, ``numbers``, which is added to, the numbers
    that ``li`` puts into others.  The register is -1 where the sum is only used as an address.
    """
    opcode, target, base = word >> 26, word >> 21 & 31, word >> 16 & 31
    if opcode in _D_FORM:
        if opcode in (ADDI, ADDIS) and not base:
            numbers.setdefault(target, set()).add(_displacement(word))
            return -1, (), ()
        filled = target if opcode in (ADDI, ADDIS) else -1
        return filled, holds.get(base, ()), (_displacement(word),)
    if opcode == instruction.REGISTERS:
        other, operation = word >> 11 & 31, word >> 1 & 0x3FF
        if operation == _OR and target == other:  # mr
            return base, holds.get(target, ()), (0,)
        filled = target if operation & 0x1FF == _ADD else -1
        if base in holds:
            return filled, holds[base], numbers.get(other, ())
        return filled, holds.get(other, ()), numbers.get(base, ())
    return -1, (), ()


def _displacement(word: int) -> int:
    """The immediate or the displacement of a D-form or DS-form instruction, in bytes."""
    opcode = word >> 26
    field = word & (0xFFFC if opcode in _DS_FORM else 0xFFFF)
    signed = field - ((field & 0x8000) << 1)
    return signed << 16 if opcode == ADDIS else signed


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
    """Refuse an address in code that moves and that is no multiple of 4, unless it is data's."""
    data = {
        number: [(region.start, region.end) for region in regions.get(number, ())]
        for number in maps
    }
    for number in program.filled:
        if kernel_sections.is_elsewhere(program.obj.sections[number]):
            continue
        for reference in program.references_to_code_from(number):
            row = TYPES.get(reference.type)
            if row is None or row.addend != "target" or not reference.offset & 3:
                continue
            if reference.target in maps and not _is_named_or_data(
                program, reference.target, reference.offset, data[reference.target]
            ):
                raise Refusal(
                    f"the address {program.name(reference.target)}+{reference.offset:#x}, which is"
                    " no instruction's: a label and a number, and nothing says which label",
                    section=program.name(number),
                    offset=reference.place,
                    remedy="keep the label's address, and add the number where it is used",
                )


def _is_named_or_data(
    program: Program, section: int, offset: int, data: Sequence[tuple[int, int]]
) -> bool:
    values, _ = program.symbols_in(section)
    at = bisect_left(values, offset)
    return _is_inside(data, offset) or (at < len(values) and values[at] == offset)
