"""Where everything in code goes: the new layout of each section that something goes into.

The problem: a layout needs to know what was padded into place (`layout.padding`), and the word
that the assembler ends padding with, which a section doesn't always show.  The rule: take it from
the section, else from another one of the object, else from what the object says of its compiler and
processor.

Source: see `layout.padding` and `layout.layout`.
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.layout import layout, padding, vector_data
from nopfix.rewriter.power import fill
from nopfix.rewriter.power.instruction import NOP

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nopfix.rewriter.layout.plan import Code, Plan
    from nopfix.rewriter.object.claims import Claims
    from nopfix.rewriter.object.program import Program
    from nopfix.rewriter.proof.analysis import Analysis


def arrange(
    program: Program,
    sections: Sequence[Code],
    analysis: Analysis,
    claims: Mapping[int, Claims],
    plan: Plan,
    *,
    realign: bool,
) -> dict[int, layout.Layout]:
    """The new layout of each section that something goes into, by number.

    ``sections`` are the object's code, ``claims`` who names places there.  Without ``realign``
    nothing keeps its alignment but prefixed instructions, which don't run across a boundary.
    Raises `Refusal` where a branch can't be made to reach, and where vectors would be read from
    other addresses.
    """
    is_llvm = program.is_of_llvm
    origin = padding.Origin(is_llvm, 0 if is_llvm else _told_alignment(program))
    vectors = vector_data.find(program, sections, analysis, claims)
    aligned = {}
    for section in sections:
        number = section.number
        planned = plan.slots.get(number, ())
        found = padding.find(program, section, analysis, claims[number], planned, origin)
        aligned[number] = vector_data.beside(found, vectors.get(number, ()))
    styles = _styles(program, sections, analysis, aligned, is_llvm)
    layouts = {
        number: layout.lay_out(
            program.words(number),
            plan.slots[number],
            aligned[number] if realign else _prefixed(aligned[number]),
            found.branches,
            styles[number],
            program.name(number),
        )
        for number, found in sections
        if number in plan.slots
    }
    vector_data.check(program, vectors, {number: own.map for number, own in layouts.items()})
    return layouts


def _prefixed(aligned: Iterable[layout.Alignment]) -> list[layout.Alignment]:
    """Those of ``aligned`` that are prefixed instructions."""
    return [one for one in aligned if not one.alignment]


def _styles(
    program: Program,
    sections: Sequence[Code],
    analysis: Analysis,
    aligned: Mapping[int, Sequence[layout.Alignment]],
    is_llvm: bool,
) -> dict[int, fill.Style]:
    """How each section is padded: what it doesn't show itself, another one does."""
    last = {n: padding.last_word_of(program.words(n), own) for n, own in aligned.items()}
    jumps = {n: padding.jumps_over(program.words(n), own) for n, own in aligned.items()}
    other = next((word for word in last.values() if word is not None), None)
    if other is None:
        other = NOP if is_llvm else _group_nop(program, sections, analysis)
    long = next((own for own in jumps.values() if own is not None), not is_llvm)
    styles = {}
    for number in aligned:
        own_last, own_jumps = last[number], jumps[number]
        styles[number] = fill.Style(
            other if own_last is None else own_last, long if own_jumps is None else own_jumps
        )
    return styles


def _told_alignment(program: Program) -> int:
    """What the debug information says that functions were to be aligned to; 0 without that."""
    return next(filter(None, map(padding.told_alignment, _strings(program))), 0)


def _strings(program: Program) -> Iterator[memoryview]:
    """Where a compiler keeps its options, if it does."""
    for header in program.obj.sections:
        if header.name == ".debug_str":
            yield program.obj.contents(header.number)


def _group_nop(program: Program, sections: Iterable[Code], analysis: Analysis) -> int:
    """What gas ends padding with, where no section shows it."""
    if any(map(padding.tells_power9, _strings(program))):
        return NOP
    for number, _ in sections:
        regions = analysis.regions.get(number, ())
        word = padding.newest_group_nop(program.words(number), regions)
        if word is not None:
            return word
    return padding.DEFAULT_GROUP_NOP
