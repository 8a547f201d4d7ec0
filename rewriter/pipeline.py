"""The way through: one object in, one object out.

`rewrite` is the list of steps: read the object, see what is needed, cut data out of code and prove
indirect branches, ask who claims which place, plan the insertions, lay out, refuse what can't be
moved with certainty, rewrite code, rewrite unwind and debug sections, move symbols and relocations,
compress again, write.  Every step takes values and returns values; nothing of the input is changed.

Two of five objects of a kernel need nothing: what only the others need is imported where it is
used.
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.layout.needs import Needs, Units
from nopfix.rewriter.object import elf
from nopfix.rewriter.object.program import Program
from nopfix.rewriter.options import Options, Report, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from nopfix.dwarf.offset_map import OffsetMap
    from nopfix.rewriter.layout import plan
    from nopfix.rewriter.layout.layout import Layout
    from nopfix.rewriter.layout.needs import Need
    from nopfix.rewriter.object.claims import Claimants
    from nopfix.rewriter.options import Left
    from nopfix.rewriter.proof.analysis import Analysis

DEFAULT_OPTIONS = Options()


class LaidOut(Record):
    """What is code and what data, what is inserted, and where everything goes, by section."""

    analysis: Analysis
    planned: plan.Plan
    layouts: Mapping[int, Layout]
    sections: list[plan.Code]

    def maps(self) -> dict[int, OffsetMap]:
        """The maps of the sections that something moves in, by number."""
        return {number: layout.map for number, layout in self.layouts.items() if layout.map}


def rewrite(
    data: bytes,
    options: Options = DEFAULT_OPTIONS,
    insertions: Iterable[tuple[int | str, int]] | None = None,
) -> Result:
    """Insert nops into the relocatable object ``data`` and move everything that this moves.

    ``insertions`` are the insertion points, as (section number or name, section offset in bytes);
    by default those that the calls without slot ask for.  An object that needs nothing comes back
    byte for byte.

    Raises `Refusal` when the object can't be rewritten with certainty.
    """
    obj = elf.read(data)
    refuse_intermediate_code(obj)
    program = Program(obj)
    asked = None if insertions is None else list(insertions)
    needs = Needs(program, options, asked)
    if not needs.might_insert():
        return _unchanged(data)

    from nopfix.rewriter import report
    from nopfix.rewriter.layout import code
    from nopfix.rewriter.object import appended
    from nopfix.rewriter.references import (
        code_distances,
        dwarf_sections,
        hand_written,
        label_distances,
        moves,
        special_sections,
        unknown_sections,
    )

    has_compressed = any(section.is_compressed for section in obj.sections)
    if has_compressed:
        from nopfix.rewriter.object import compressed

        compressed.check(obj, options.allow)
    laid_out = lay_out(program, needs, options, asked)
    analysis, planned, layouts, sections = laid_out
    if not planned.slots:
        return _unchanged(data, report.left(obj, planned, analysis))
    appended.check(obj)
    maps = laid_out.maps()
    unknown_sections.check(obj, maps)
    bases = special_sections.bases(program, maps, analysis, options)
    label_distances.check(program, analysis.differences, maps, options)
    hand_written.check(program, maps)
    code_distances.check(program, analysis, sections, maps, options.plain_sections)
    contents = code.rewrite_all(program, sections, analysis.differences, layouts)
    rewritten, dwo = dwarf_sections.rewrite(obj, maps, options)
    contents |= {number: new.data for number, new in rewritten.items()}
    contents |= moves.rewrite(obj, maps, rewritten, bases)
    headers = elf.NO_HEADERS
    if has_compressed:
        contents, headers = compressed.compress_again(obj, contents)
    new = elf.write(obj, contents, headers)
    return Result(new, report.make(obj, planned, analysis, layouts, contents, len(new)), dwo)


def lay_out(
    program: Program,
    needs: Needs,
    options: Options,
    asked: Sequence[tuple[int | str, int]] | None = None,
) -> LaidOut:
    """Tell code from data, plan the insertions, and lay out each section that one goes into.

    Raises `Refusal`.
    """
    from nopfix.rewriter.layout import arrangement, plan

    leave_unproved = options.leave_unproved and asked is None
    analysis, sections, claimants = take_apart(program, needs.of, leave_unproved)
    claimed = claimants.all()
    if asked is None:
        planned = plan.slots(program, sections, analysis, claimed, options)
    else:
        planned = plan.insertions(program, sections, asked)
    layouts: Mapping[int, Layout] = {}
    if planned.slots:
        layouts = arrangement.arrange(
            program, sections, analysis, claimed, planned, realign=options.realign
        )
    return LaidOut(analysis, planned, layouts, sections)


def refuse_intermediate_code(obj: elf.Object) -> None:
    """Raise `Refusal` for an object that holds the compiler's intermediate code.

    With instructions beside it, too (-ffat-lto-objects): GCC's driver links by intermediate code
    wherever there is some, asked to or not, and lld does when told to.  The code that comes of
    that has no slots, and nobody says so.
    """
    for section in obj.sections:
        if section.name.startswith(".gnu.lto_") or section.name == ".llvm.lto":
            remedy = "compile without -flto"
            if b"\0__gnu_lto_slim\0" not in obj.symbols.strings:
                remedy += ", or take it out first: objcopy -R '.gnu.lto_*' -R .llvm.lto"
            raise Refusal(
                "the compiler's intermediate code, of which a link makes code without slots",
                section=section.name,
                remedy=remedy,
            )


def _prove_all(number: int) -> Need:
    """In the place of `Needs.of`: whatever it needs, it is to be proved."""
    return "proof"


def take_apart(
    program: Program,
    need: Callable[[int], Need] = _prove_all,
    leave_unproved: bool = False,
) -> tuple[Analysis, list[plan.Code], Claimants]:
    """Tell data from instructions in every code section and look at each instruction once.

    Who claims places there may be asked of what comes back last.

    ``need`` says what each of them needs; what belongs to one that needs anything is proved, or
    with ``leave_unproved`` noted as what is to be left (`Analysis.unproved`).
    """
    from nopfix.rewriter.layout import plan
    from nopfix.rewriter.object.claims import Claimants
    from nopfix.rewriter.power import instruction
    from nopfix.rewriter.proof import data_in_code, function_prefix, unentered

    own_units = Units(program, lambda number: need(number) != "nothing")
    together = own_units.together if leave_unproved else None
    analysis = data_in_code.analyse(program, own_units.need_proof, together)
    sections = []
    all_regions = dict(analysis.regions)
    claimants = Claimants(program, analysis.base_relative)

    def named(number: int) -> Iterable[int]:
        return claimants.but_symbols()[number].named

    for number in program.code:
        words, filling = program.words(number), program.filling(number)
        regions = all_regions.get(number, ())
        found = instruction.sweep(words, [(r.start, r.end) for r in regions], filling)
        if number not in analysis.unproved:
            if need(number) != "nothing":
                targets = analysis.targets.get(number, ())
                more = unentered.find(program, number, found, regions, targets, named)
                if more:
                    regions = all_regions[number] = sorted([*regions, *more])
                    found = instruction.sweep(words, [(r.start, r.end) for r in regions], filling)
            function_prefix.check(program, number, found, lambda own: need(own) != "nothing")
        sections.append(plan.Code(number, found))
    return analysis._replace(regions=all_regions), sections, claimants


def _unchanged(data: bytes, left: Sequence[Left] = ()) -> Result:
    return Result(data, Report([], [], [], [], len(data), len(data), left), {})
