"""What the code sections of an object need, as far as that can be said without a proof.

The problem: which calls lack a slot depends on what is code and on where indirect branches lead,
and that takes proofs, which most objects don't need.  The rule: look twice before anything is
proved, and stop when the answer is certain.  First at the words alone; then with everybody's claims
(`object.claims`) and every word taken as code.  What is still open then is for the proofs, and for
`layout.plan`, which looks a third time.  What only calls need is loaded where there are some.

Source: see `layout.calls` for what a slot is, `layout.units` for what belongs together.
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING, Literal
from nopfix.rewriter.power import instruction

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from nopfix.rewriter.errors import Refusal
    from nopfix.rewriter.layout import calls
    from nopfix.rewriter.object.claims import Claims
    from nopfix.rewriter.object.program import Program
    from nopfix.rewriter.options import Options

Need = Literal["slot", "proof", "nothing"]
"""What a code section needs: something inserted, a proof that shows whether so, or neither."""


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
        self._options = options
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
        sites = list(self._sites(number, self._claims_to(number).with_entered(entered)))
        if _any_without_slot(sites):
            return "slot"
        from nopfix.rewriter.layout import units

        doubtful = units.has_doubtful_slot(program, number, sites, self._selection())
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
            self._program.functions_in(number)  # refused, if so, whether there are calls or not
            lacking = self._has_calls(number) and _any_without_slot(self._sites(number))
            self._lacking[number] = lacking
        return lacking

    def _selection(self) -> calls.Selection:
        from nopfix.rewriter.layout import calls

        return calls.Selection(self._options.only, self._options.exempt)

    def _sites(self, number: int, claims: Claims | None = None) -> Iterator[calls.CallSite]:
        from nopfix.rewriter.layout import calls
        from nopfix.rewriter.object.claims import NO_CLAIMS

        places = instruction.call_places(self._program.words(number))
        return calls.find(self._program, number, places, self._selection(), claims or NO_CLAIMS)


def _any_without_slot(sites: Iterable[calls.CallSite]) -> bool:
    return any(site.action in ("insert", "unclear") for site in sites)


class Units:
    """The units of an object (`layout.units`), found when they are first asked for.

    Most objects never ask: everything that has an indirect branch has an insertion as well.
    """

    def __init__(self, program: Program, touched: Callable[[int], bool]) -> None:
        """Nothing is looked for yet.

        ``touched`` tells of a code section whether something may be inserted there, or whether only
        a proof can tell.
        """
        self._program = program
        self._touched = touched
        self._found: Sequence[frozenset[int]] | None = None
        self._needed: frozenset[int] | None = None

    def need_proof(self, section: int) -> bool:
        """Whether something is inserted anywhere in the unit of code section ``section``."""
        if self._touched(section):
            return True
        if self._needed is None:
            self._needed = frozenset(
                section
                for unit in self._units()
                if any(map(self._touched, unit))
                for section in unit
            )
        return section in self._needed

    def together(self, failed: Mapping[int, Refusal]) -> dict[int, Refusal]:
        """All sections of the units of those that ``failed``; each with what was said of one."""
        return {
            section: why
            for unit in self._units()
            for why in [failed[section] for section in sorted(unit) if section in failed][:1]
            for section in unit
        }

    def _units(self) -> Sequence[frozenset[int]]:
        if self._found is None:
            from nopfix.rewriter.layout import units

            self._found = units.find(self._program)
        return self._found
