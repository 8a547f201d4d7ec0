"""Data in code that stays aligned to 16 because vectors are read from it.

The problem: ``lvx`` and its kin drop the low bits of an address, so what is read from a constant
that moved by a word is another one, and nothing says so; ``lq`` traps, a relocated ``lxv`` doesn't
link, and of an ``lxvp`` the linker makes another instruction.  Hand-written code keeps such
constants behind a function or a return, and where they needed no padding nothing shows that they
were to be aligned.

The rule: where an object has such an instruction, whatever has its address in the object, lies on a
multiple of 16 and is no code stays there.  Padding goes in front of the data that it begins, or is
in the midst of: behind a function's end, a no-op or an instruction that goes elsewhere, but not
into what is known to be data, of which a word may look like one.  Where that isn't found, and the
data no longer lies on such a multiple, the object is refused.

What is addressed by its distance from the program counter is looked at in
`references.program_counter`.

Source: Power ISA 3.1, Book I, 3.3.4 (lq), 6.7.2 (lvx), 7.6.1 (lxv, lxvp).
"""

from __future__ import annotations

from bisect import bisect_right

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.layout.gaps import has_code
from nopfix.rewriter.layout.layout import Alignment
from nopfix.rewriter.power import instruction, semantics
from nopfix.rewriter.proof.analysis import SWITCH_TABLE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence, Set

    from nopfix.dwarf.offset_map import OffsetMap
    from nopfix.rewriter.layout.plan import Code
    from nopfix.rewriter.object.claims import Claims
    from nopfix.rewriter.object.program import Program
    from nopfix.rewriter.proof.analysis import Analysis

_VECTOR = 16
_R1, _FRAME = 1, 31
"""The stack and the frame pointer: by them vector registers are saved."""
_MOST_WORDS = 1 << 12
"""Words of data in front of what is addressed: a table has fewer."""


def find(
    program: Program,
    sections: Sequence[Code],
    analysis: Analysis,
    claims: Mapping[int, Claims],
) -> dict[int, list[Alignment]]:
    """The data that has to stay aligned, by section number, each with where padding may go.

    The arguments are those of `arrangement.arrange`.
    """
    found: dict[int, list[Alignment]] = {}
    for number, instructions in sections:
        addressed = {target for _, target in instructions.relative if not target % _VECTOR}
        addressed |= claims[number].addressed
        if not addressed or program.obj.sections[number].alignment < _VECTOR:
            continue
        entered = {target for _, target in instructions.branches}
        entered.update(analysis.targets.get(number, ()), claims[number].entries)
        ends = set(program.bodies_in(number).ends)
        regions = analysis.regions.get(number, ())
        ends.update(region.end for region in regions)
        starts = [region.start for region in regions]
        before = first = 0
        for place in sorted(addressed - entered):
            index = bisect_right(starts, place) - 1
            inside = index >= 0 and place < regions[index].end
            if inside and regions[index].kind == SWITCH_TABLE:
                continue
            start = _first(program.words(number), starts[index] if inside else place, ends, before)
            if start == before:
                start = first
            before, first = place, start
            if not has_code(instructions, start, place):
                one = Alignment(start, start, _VECTOR, place - start)
                found.setdefault(number, []).append(one)
    if found and not _reads_vectors(program, sections, analysis):
        return {}
    return found


def beside(aligned: Sequence[Alignment], kept: Iterable[Alignment]) -> list[Alignment]:
    """``aligned`` of one section, and what is ``kept`` (`find`) where that leaves it out."""
    found = {one.start: one for one in aligned}
    for one in kept:
        known = found.get(one.start + one.ahead)
        if known is not None and not known.ahead:
            found[known.start] = known._replace(alignment=max(known.alignment, _VECTOR))
            continue
        known = found.get(one.start, one)
        if known.alignment < _VECTOR:
            known = one._replace(padding=known.padding)
        found[one.start] = known
    return list(found.values())


def _first(words: Sequence[int], place: int, ends: Collection[int], known: int) -> int:
    """Where the data begins that ``place`` is in: what is in front doesn't go on to it.

    ``known``, a place in front, is returned where the data goes back to it.
    """
    if place >= 4 * len(words):
        return place
    for start in range(place, max(place - 4 * _MOST_WORDS, known), -4):
        word = words[(start >> 2) - 1]
        if start in ends or word in instruction.NO_OPERATIONS or instruction.goes_elsewhere(word):
            return start
    return known if place - 4 * _MOST_WORDS <= known else 0


def _reads_vectors(program: Program, sections: Iterable[Code], analysis: Analysis) -> bool:
    """Whether an instruction of the object needs what it reads aligned to 16, beside the stack."""
    for number, _ in sections:
        words, functions = program.words(number), program.functions_in(number)
        regions = analysis.regions.get(number, ())
        data = {at for own in regions for at in range(own.start >> 2, own.end + 3 >> 2)}
        on_stack: dict[int | None, Set[int]] = {None: {_R1}}
        for index, word in enumerate(words):
            if not instruction.needs_aligned_address(word):
                continue
            start = functions.start(4 * index)
            if start is not None and start not in on_stack:
                own = range(start >> 2, (functions.end(start) or start) >> 2)
                on_stack[start] = _stack_pointers([words[at] for at in own if at not in data])
            is_indexed = word >> 26 == instruction.REGISTERS
            bases = {word >> 16 & 31, word >> 11 & 31} if is_indexed else {word >> 16 & 31}
            if on_stack[start].isdisjoint(bases):
                return True
    return False


def _stack_pointers(words: Sequence[int]) -> Set[int]:
    """The registers that hold nothing but addresses on the stack in a function, of ``words``.

    They are made of r1 wherever they are written; r31, the frame pointer, is restored from there
    as well, by who then reads nothing by it.
    """
    made = {_R1}
    others = prefix = 0
    for word in words:
        operation = semantics.operation(word)
        if prefix:
            others |= semantics.written_by_prefixed(prefix, word)
        elif operation.source == _R1 and operation.kind in ("add", "copy") and operation.other < 0:
            made.add(operation.target)
        elif operation.source != _R1 or operation.kind != "load" or operation.target != _FRAME:
            others |= 0 if word >> 26 == instruction.PREFIX else semantics.written(word)
        prefix = 0 if prefix or word >> 26 != instruction.PREFIX else word
    return {register for register in made if register == _R1 or not others >> register & 1}


def check(
    program: Program, kept: Mapping[int, Iterable[Alignment]], maps: Mapping[int, OffsetMap]
) -> None:
    """Raise `Refusal` for what is ``kept`` aligned (`find`) and isn't in ``maps``."""
    for number, moved in maps.items():
        for one in kept.get(number, ()):
            place = one.start + one.ahead
            if moved.start(place) % _VECTOR:
                raise Refusal(
                    f"data at {place:#x}, which vectors may be read from, is no longer aligned to"
                    f" {_VECTOR}",
                    section=program.name(number),
                    offset=place,
                    remedy="keep it in a section of its own (.rodata)",
                )
