"""``--list`` and ``--explain``: each call and what would be done, each indirect branch and why.

Three forms of one `Listing`: lines with tabs for programs, columns with colours for a terminal, and
JSON (docs/output.schema.json).

Source: no-color.org on when colours aren't wanted.
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.errors import Refusal, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nopfix.rewriter.layout.calls import CallSite
    from nopfix.rewriter.object.program import Program
    from nopfix.rewriter.options import Options
    from nopfix.rewriter.proof.analysis import IndirectBranch


class Call(Record):
    """A call: section name, offset in bytes, who calls, who is called, what would be done.

    ``note`` says who names the no-op behind it, where that isn't its slot.
    """

    section: str
    offset: int
    function: str | None
    callee: str
    action: str
    note: str | None


class Listing(Record):
    """What one object has: its calls and its indirect branches, None where it wasn't asked."""

    calls: Sequence[Call] | None
    branches: Sequence[IndirectBranch] | None


def make(data: bytes, options: Options, *, calls: bool, branches: bool) -> Listing:
    """Look at the object ``data``.  Raises `Refusal` where the rewrite would before it plans."""
    from nopfix.rewriter import pipeline
    from nopfix.rewriter.layout import plan
    from nopfix.rewriter.layout.needs import Needs
    from nopfix.rewriter.object import compressed, elf
    from nopfix.rewriter.object.program import Program

    obj = elf.read(data)
    pipeline.refuse_intermediate_code(obj)
    compressed.check(obj, options.allow)
    program = Program(obj)
    try:
        analysis, sections, claimants = pipeline.take_apart(program)
    except Refusal:  # but what isn't needed needn't be understood
        need = Needs(program, options).of
        analysis, sections, claimants = pipeline.take_apart(program, need, options.leave_unproved)
    found = None
    if calls:
        sites = plan.call_sites(program, sections, analysis, claimants.all(), options)
        found = [_call(program, site) for site in sites]
    return Listing(found, analysis.branches if branches else None)


def _call(program: Program, site: CallSite) -> Call:
    from nopfix.rewriter.object.claims import who

    note = None
    if site.claimed is not None:
        note = f"the no-op behind it is named by {who(program, site.claimed)}"
    section = program.name(site.section)
    return Call(section, site.place, site.function, site.callee, site.action, note)


def lines(listing: Listing) -> Iterator[str]:
    """The listing for programs: a line each, fields with tabs between them."""
    for call in listing.calls or ():
        note = () if call.note is None else (printable(call.note),)
        yield "\t".join((*_fields(call), *note))
    for branch in listing.branches or ():
        yield printable(branch.explain())


def _fields(call: Call) -> tuple[str, ...]:
    fields = f"{call.section}+{call.offset:#x}", call.function or "-", call.callee, call.action
    return tuple(map(printable, fields))


def fields(listing: Listing) -> dict[str, object]:
    """The listing for `json`."""
    found: dict[str, object] = {}
    if listing.calls is not None:
        found["calls"] = [call._asdict() for call in listing.calls]
    if listing.branches is not None:
        found["branches"] = [
            {**branch._asdict(), "reasons": list(branch.reasons)} for branch in listing.branches
        ]
    return found


# -- on a terminal --------------------------------------------------------------------------------

_BOLD, _DIM, _GREEN, _YELLOW, _CYAN = "1", "2", "32", "33", "36"
_COLOURS = {
    "insert": _GREEN,
    "exempt": _DIM,
    "not selected": _YELLOW,
    "not followed": _YELLOW,
    "left": _YELLOW,
}
"""Of a call's action, and of a branch's kind; any other stays as it is."""


def colours(environment: Mapping[str, str]) -> bool:
    """Whether a terminal's user wants colours."""
    return not environment.get("NO_COLOR") and environment.get("TERM", "dumb") != "dumb"


def on_terminal(listing: Listing, *, colour: bool) -> Iterator[str]:
    """The listing for people: columns, and colours where they are wanted."""
    rows = [_fields(call) for call in listing.calls or ()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for call, row in zip(listing.calls or (), rows, strict=True):
        place, function, callee, _ = (
            text.ljust(width) for text, width in zip(row, widths, strict=True)
        )
        columns = [
            _coloured(place, _CYAN, colour),
            function,
            _coloured(callee, _BOLD, colour),
            _coloured(row[-1], _COLOURS.get(row[-1], ""), colour),
        ]
        if call.note is not None:
            columns.append(printable(call.note))
        yield "  ".join(columns)
    if rows:
        yield _totals(row[-1] for row in rows)
    for branch in listing.branches or ():
        where = f"{branch.section}+{branch.offset:#x}"
        inside = f" in {branch.function}" if branch.function else ""
        kind = _coloured(printable(branch.kind), _COLOURS.get(branch.kind, _BOLD), colour)
        yield f"{_coloured(printable(where), _CYAN, colour)}{printable(inside)}: {kind}"
        for reason in branch.reasons:
            yield "    " + printable(reason)


def _coloured(text: str, how: str, wanted: bool) -> str:
    return f"\x1b[{how}m{text}\x1b[0m" if wanted and how else text


def _totals(actions: Iterable[str]) -> str:
    counts: dict[str, int] = {}
    for action in actions:
        counts[action] = counts.get(action, 0) + 1
    texts = [f"{count} {action}" for action, count in sorted(counts.items())]
    return f"{sum(counts.values())} calls: {', '.join(texts)}"
