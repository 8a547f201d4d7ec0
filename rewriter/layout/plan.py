"""What is inserted where.

The third look at an object's calls: the first two (`layout.needs`) say whether anything may be
inserted at all, this one knows what is code, where indirect branches lead (`proof.analysis`) and
who has a claim to which place (`object.claims`).

Source: see `layout.calls` for what a slot is, `layout.units` for what belongs together.
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.layout import calls
from nopfix.rewriter.proof.analysis import OBJECT, OR_LEAVE, RELOCATED_DATA

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nopfix.rewriter.object.claims import Claims
    from nopfix.rewriter.object.program import Place, Program
    from nopfix.rewriter.options import Options
    from nopfix.rewriter.power import instruction
    from nopfix.rewriter.proof.analysis import Analysis


class Plan(Record):
    """What to insert: slots by section number (old offsets), and the call that each is for.

    ``lacking`` counts the calls that get none because their section is left as it is.
    """

    slots: Mapping[int, Sequence[int]]
    sites: Mapping[Place, calls.CallSite]
    lacking: Mapping[int, int] = {}


class Code(Record):
    """One executable section: what a sweep over its instructions found."""

    number: int
    found: instruction.Instructions


def slots(
    program: Program,
    sections: Iterable[Code],
    analysis: Analysis,
    claims: Mapping[int, Claims],
    options: Options,
) -> Plan:
    """A slot behind every call that lacks one; arguments and errors are those of `call_sites`."""
    places: dict[int, list[int]] = {}
    sites = {}
    lacking: dict[int, int] = {}
    for site in call_sites(program, sections, analysis, claims, options):
        if site.action == "insert":
            places.setdefault(site.section, []).append(site.place + 4)
            sites[site.section, site.place + 4] = site
        elif site.action == "left":
            lacking[site.section] = lacking.get(site.section, 0) + 1
    return Plan(places, sites, lacking)


def insertions(
    program: Program, sections: Sequence[Code], asked: Iterable[tuple[int | str, int]]
) -> Plan:
    """The caller's own insertion points, ``asked``: each has to be an instruction boundary.

    They are pairs of a section's number or name and an offset in bytes; `Refusal` for others.
    """
    by_name = {program.name(code.number): code.number for code in sections}
    inside = {code.number: {place + 4 for place in code.found.prefixed} for code in sections}
    places: dict[int, list[int]] = {}
    for section, offset in asked:
        number = by_name.get(section, 0) if isinstance(section, str) else section
        if number not in inside:
            raise Refusal(f"no code section {section!r} to insert into")
        end = 4 * len(program.words(number))
        if offset % 4 or not 0 < offset <= end or offset in inside[number]:
            raise Refusal(
                "not between two instructions",
                section=program.name(number),
                offset=offset,
                remedy="insert behind an instruction",
            )
        places.setdefault(number, []).append(offset)
    return Plan(places, {})


def call_sites(
    program: Program,
    sections: Iterable[Code],
    analysis: Analysis,
    claims: Mapping[int, Claims],
    options: Options,
) -> list[calls.CallSite]:
    """Every call of the object, with what is to be done about it.

    ``sections`` are its code, ``claims`` say by section number who names places there.  Raises
    `Refusal` where it matters, and can't be told, what the word behind a call is to somebody.
    """
    selection = calls.Selection(options.only, options.exempt)
    sites: list[calls.CallSite] = []
    for number, found in sections:
        if found.calls:
            known = _known_claims(claims[number], number, found, analysis)
            own = list(calls.find(program, number, found.calls, selection, known))
            why = analysis.unproved.get(number)
            if why is not None:
                sites += _left(program, own, selection, why)
                continue
            for site in own:
                if site.action == "unclear":
                    raise _unclear(program, site, known)
            _refuse_inline_data(program, number, own, analysis)
            sites += own
    return sites


def _left(
    program: Program, sites: Iterable[calls.CallSite], selection: calls.Selection, why: Refusal
) -> Iterator[calls.CallSite]:
    """The calls of a section that keeps its bytes because of ``why``.

    Raises `Refusal` where that would make a slot of what isn't one.
    """
    from nopfix.rewriter.layout import units

    for site in sites:
        if units.may_be_overwritten(program, site, selection):
            place = f"{program.name(site.section)}+{site.place:#x}"
            raise Refusal(
                f"{why.found}; nor can it be left as it is: the no-op behind the call of"
                f" {site.callee} at {place} may be somebody else's",
                section=why.section,
                offset=why.offset,
                function=why.function,
                remedy=why.remedy.removesuffix(OR_LEAVE),
            )
        yield site._replace(action="left") if site.action in ("insert", "unclear") else site


def _known_claims(
    claims: Claims, number: int, found: instruction.Instructions, analysis: Analysis
) -> Claims:
    """``claims`` with what branches lead to, without addresses that a branch is proved to read."""
    targets = analysis.targets.get(number, ())
    entered = [*(branch.target for branch in found.branches), *targets]
    read = analysis.read_addresses.get(number, ())
    unclear = {
        offset: place
        for offset, place in claims.unclear.items()
        if offset not in targets and not any(start <= offset < end for start, end in read)
    }
    return claims.with_entered(entered)._replace(unclear=unclear)


def _unclear(program: Program, site: calls.CallSite, claims: Claims) -> Refusal:
    behind = site.place + 4
    name = program.name(site.section)
    if behind in claims.returns:
        return Refusal(
            f"a table of return addresses names the call of {site.callee}, which has no no-op"
            " behind it",
            section=name,
            offset=site.place,
            function=site.function,
            remedy="put the no-op into the source, as the table's compiler does",
        )
    section, place = claims.unclear[behind]
    return Refusal(
        f"the address of the word behind the call of {site.callee}, in data: a return address and"
        f" a label ({name}+{behind:#x}) move differently, and nothing tells which it is",
        section=program.name(section),
        offset=place,
        remedy=f"leave this call alone (--exempt {site.callee}), or this file",
    )


def _refuse_inline_data(
    program: Program, number: int, sites: Iterable[calls.CallSite], analysis: Analysis
) -> None:
    """Raise `Refusal` for a call with data behind it, which whoever is called may read there.

    ``sites`` are those of section ``number``.  What the compiler puts behind a call that doesn't
    come back is no such data: traceback and switch tables.
    """
    words = program.words(number)
    kinds = {region.start: region.kind for region in analysis.regions.get(number, ())}
    for site in sites:
        behind = site.place + 4
        if site.action != "insert" or behind >= 4 * len(words):
            continue
        end = program.body_end(number, site.place)
        kind = kinds.get(behind, "unknown data" if words[behind >> 2] >> 26 == 0 else "")
        if kind in (RELOCATED_DATA, OBJECT, "unknown data") and (end is None or behind < end):
            raise Refusal(
                f"the call of {site.callee} has data behind it, which the callee may read there",
                section=program.name(number),
                offset=site.place,
                function=site.function,
                remedy=f"keep the data elsewhere, or leave the call alone (--exempt {site.callee})",
            )
