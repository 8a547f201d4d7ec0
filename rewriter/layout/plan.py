"""What is inserted where, and which sections need a proof before that can be said.

The problem: which calls lack a slot depends on what is code and on where indirect branches lead,
and that takes proofs, which most objects don't need.  The rule: look three times, and stop when the
answer is certain.  First at the words alone; then with everybody's claims (`object.claims`) and
every word taken as code; last with the proofs (`proof.analysis`).  The last look makes the plan.

Source: see `layout.calls` for what a slot is, `layout.units` for what belongs together.
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING, Literal, Record
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.layout import calls, units
from nopfix.rewriter.object.claims import NO_CLAIMS
from nopfix.rewriter.power import instruction
from nopfix.rewriter.proof.analysis import OBJECT, OR_LEAVE, RELOCATED_DATA

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from nopfix.rewriter.object.claims import Claims
    from nopfix.rewriter.object.program import Place, Program
    from nopfix.rewriter.options import Options
    from nopfix.rewriter.proof.analysis import Analysis

Need = Literal["slot", "proof", "nothing"]
"""What a code section needs: something inserted, a proof that shows whether so, or neither."""


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


# -- before the proofs -----------------------------------------------------------------------------


class Needs:
    """What the code sections of an object need, every word taken as code, data included.

    Each answer is found when it is first asked for.
    """

    def __init__(
        self,
        program: Program,
        options: Options,
        insertions: Collection[tuple[int | str, int]] | None = None,
    ) -> None:
        """Of calls without slot, or of the caller's ``insertions`` where these are given."""
        self._program = program
        self._selection = calls.Selection(options.only, options.exempt)
        self._claims: dict[int, Claims] | None = None
        self._known: dict[int, Need] = {}
        self._lacking: dict[int, bool] = {}
        if insertions is not None:
            named = {section for section, _ in insertions}
            for number in program.code:
                is_named = named & {number, program.name(number)}
                self._known[number] = "slot" if is_named else "nothing"

    def might_insert(self) -> bool:
        """False when it's certain without any proof that nothing is inserted."""
        if self._known:
            return True
        sections = self._program.code
        if any(self._lacks_slot(number) for number in sections):
            return True
        found = {self.of(number) for number in sections}
        if "slot" in found or "proof" not in found:
            return "slot" in found
        from nopfix.rewriter.proof import data_in_code

        contents = map(self._program.obj.contents, sections)
        return any(map(data_in_code.has_indirect_branches, contents))

    def of(self, number: int) -> Need:
        """What section ``number`` needs."""
        need = self._known.get(number)
        if need is None:
            need = self._known[number] = self._find(number)
        return need

    def _find(self, number: int) -> Need:
        if self._lacks_slot(number):
            return "slot"
        if not self._has_calls(number):
            return "nothing"
        # A no-op that somebody names or a branch leads to is no slot: look again, knowing who does.
        program = self._program
        words = program.words(number)
        found = instruction.sweep(words, (), program.filling(number))
        entered = {target for _, target in found.branches}
        for place in found.prefixed:  # or data: then the word behind it may be a branch
            for word in words[(place >> 2) + 1 : (place >> 2) + 2]:
                entered.add(place + 4 + (instruction.branch_displacement(word) or 0))
        sites = list(self._sites(number, _with_entered(self._claims_to(number), entered)))
        if _any_without_slot(sites):
            return "slot"
        doubtful = units.has_doubtful_slot(program, number, sites, self._selection)
        return "proof" if doubtful else "nothing"

    def _claims_to(self, number: int) -> Claims:
        if self._claims is None:
            from nopfix.rewriter.object import claims

            calling = list(filter(self._has_calls, self._program.code))
            self._claims = claims.collect(self._program, calling, {})
        return self._claims[number]

    def _has_calls(self, number: int) -> bool:
        return next(instruction.call_places(self._program.words(number)), None) is not None

    def _lacks_slot(self, number: int) -> bool:
        """Whether a call has no no-op behind it, whosever that is."""
        lacking = self._lacking.get(number)
        if lacking is None:
            lacking = self._lacking[number] = _any_without_slot(self._sites(number))
        return lacking

    def _sites(self, number: int, claims: Claims = NO_CLAIMS) -> Iterator[calls.CallSite]:
        places = instruction.call_places(self._program.words(number))
        return calls.find(self._program, number, places, self._selection, claims)


def _any_without_slot(sites: Iterable[calls.CallSite]) -> bool:
    return any(site.action in ("insert", "unclear") for site in sites)


def _with_entered(claims: Claims, entered: Iterable[int]) -> Claims:
    """``claims`` and the offsets ``entered``, which something leads to."""
    return claims._replace(named={**dict.fromkeys(entered, "branch"), **claims.named})


# -- after them ------------------------------------------------------------------------------------


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
    return _with_entered(claims, entered)._replace(unclear=unclear)


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
    words, functions = program.words(number), program.functions_in(number)
    kinds = {region.start: region.kind for region in analysis.regions.get(number, ())}
    for site in sites:
        behind = site.place + 4
        if site.action != "insert" or behind >= 4 * len(words):
            continue
        end = functions.end(site.place)
        kind = kinds.get(behind, "unknown data" if words[behind >> 2] >> 26 == 0 else "")
        if kind in (RELOCATED_DATA, OBJECT, "unknown data") and (end is None or behind < end):
            raise Refusal(
                f"the call of {site.callee} has data behind it, which the callee may read there",
                section=program.name(number),
                offset=site.place,
                function=site.function,
                remedy=f"keep the data elsewhere, or leave the call alone (--exempt {site.callee})",
            )
