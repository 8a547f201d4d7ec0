"""Where everything in code goes: the new layout of each section that something goes into.

The problem: a layout needs to know what was padded into place (`layout.padding`), and the word
that the assembler ends padding with, which a section doesn't always show.  The rule: take it from
the section, else from another one of the object, else from what the object says of its compiler and
processor.

Source: see `layout.padding` and `layout.layout`.
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.layout import layout, padding
from nopfix.rewriter.power import instruction

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
    nothing keeps its alignment.  Raises `Refusal` where a branch can't be made to reach.
    """
    aligned = {
        section.number: padding.find(
            program, section, analysis, claims[section.number], plan.slots.get(section.number, ())
        )
        for section in sections
    }
    styles = {
        number: padding.group_nop(program.words(number), own) for number, own in aligned.items()
    }
    seen = next((style for style in styles.values() if style is not None), None)
    default = seen or _group_nop(program, sections, analysis)
    return {
        number: layout.lay_out(
            program.words(number),
            plan.slots[number],
            aligned[number] if realign else (),
            found.branches,
            styles[number] or default,
            program.name(number),
        )
        for number, found in sections
        if number in plan.slots
    }


def _group_nop(program: Program, sections: Iterable[Code], analysis: Analysis) -> int:
    """What ends padding when no section shows it: LLVM never ends it specially."""
    obj = program.obj
    for header in obj.sections:
        if header.name == ".comment" and b"clang" in bytes(obj.contents(header.number)):
            return instruction.NOP
        if header.name == ".debug_str" and padding.tells_power9(obj.contents(header.number)):
            return instruction.NOP
    for number, _ in sections:
        regions = analysis.regions.get(number, ())
        style = padding.newest_group_nop(program.words(number), regions)
        if style is not None:
            return style
    return padding.DEFAULT_GROUP_NOP
