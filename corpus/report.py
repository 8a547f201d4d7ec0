"""Tables and charts of a run, as text and as one HTML file that opens offline.

The HTML has no script and no reference to anything outside itself.  rich sets the table of the
text, pygal draws the charts (charts.py); each is imported only where it is used.
"""

from __future__ import annotations

import datetime
import html
import io
import re
from collections import Counter, defaultdict
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from nopfix.corpus import baseline
from nopfix.corpus.compare import SAME_ROWS
from nopfix.corpus.toolchain import first_error
from nopfix.corpus.verdicts import KINDS, WRONG

if TYPE_CHECKING:
    from nopfix.corpus.case import Result
    from nopfix.corpus.matrix import LeftOut

#: What a case may cost, in terms of compiling and assembling alone.
COST_AIM = 1.3


class Row(NamedTuple):
    """One line of the table: where, and counts in the order of the columns.

    `to_fix` counts the cases with a call to fix; `equal` those that passed, `by_rule` those of them
    that are equal by the rule of corpus.lines; `expected` the refusals that the baseline lists for
    their sources, `by_option` those that it lists for an option (neither are in `refused`); `wrong`
    everything else that is not good.  `base_time` is the time
    of compiling and assembling alone, `total_time` that of the same cases as a whole, in seconds.
    """

    corpus: str
    compiler: str
    flags: str
    cases: int = 0
    compiled: int = 0
    to_fix: int = 0
    equal: int = 0
    by_rule: int = 0
    unchanged: int = 0
    expected: int = 0
    by_option: int = 0
    refused: int = 0
    wrong: int = 0
    nops: int = 0
    base_time: float = 0.0
    total_time: float = 0.0

    def cells(self) -> tuple[str, ...]:
        """Return the text of each column after the first three."""
        return (*map(str, self[3:14]), self.cost())

    def cost(self) -> str:
        """Return how many times as long as compiling and assembling alone the cases took."""
        return f"{self.total_time / self.base_time:.2f}" if self.base_time else ""


_WHERE = ("corpus", "compiler", "flags")
_COLUMNS = ("cases", "compiled", "to fix", "equal", "by rule", "unchanged", "expected",
            "by option", "refused", "wrong", "nops", "cost")  # fmt: skip
_MUST_BE_0 = frozenset({"refused", "wrong"})


def rows(results: list[Result], by: tuple[str, ...] = _WHERE) -> list[Row]:
    """Count the results by corpus, compiler and flags, or by fewer of them."""
    groups: dict[tuple[str, str, str], list[Result]] = defaultdict(list)
    for result in results:
        names = {"corpus": result.corpus, "compiler": result.compiler}
        if "flags" in by:
            names["flags"] = _options(result.flags)
        groups[names["corpus"], names["compiler"], names.get("flags", "")].append(result)
    return [_row(*key, group) for key, group in sorted(groups.items())]


def _options(flags: str) -> str:
    """Drop a source's own flags (a kernel file has dozens): keep what tells the runs apart."""
    words = flags.split()
    return flags if len(words) <= 8 else f"{' '.join(words[:3])} ... {' '.join(words[-3:])}"


def _row(corpus: str, compiler: str, flags: str, group: list[Result]) -> Row:
    counts = Counter(result.verdict for result in group)
    compiled = [result for result in group if KINDS[result.verdict].rank is not None]
    timed = [result for result in compiled if result.compile_time]
    expected = sum(map(baseline.expects, group))
    by_option = sum(map(baseline.by_option, group))
    return Row(
        corpus, compiler, flags,
        cases=len(group),
        compiled=len(compiled),
        to_fix=sum(result.nops > 0 for result in compiled),
        equal=counts["equal"] + counts["rewritten"],
        by_rule=sum(result.verdict == "equal" and SAME_ROWS in result.detail for result in group),
        unchanged=counts["unchanged"],
        expected=expected - by_option,
        by_option=by_option,
        refused=counts["refused"] - expected,
        wrong=sum(counts[word] for word in WRONG),
        nops=sum(result.nops for result in compiled),
        base_time=sum(result.compile_time + result.assemble_time for result in timed),
        total_time=sum(result.total_time for result in timed),
    )  # fmt: skip


def total(counted: list[Row]) -> Row:
    """Add up rows."""
    sums = [sum(column) for column in zip(*(row[3:] for row in counted), strict=True)]
    return Row("all", "", "", *sums)


def cost_line(row: Row) -> str:
    """Say what the run cost against compiling and assembling alone, "" when nothing compiled."""
    if not row.base_time:
        return ""
    return (
        f"cost: {row.total_time:.1f} s, {row.base_time:.1f} s of them compiling and assembling: "
        f"{row.cost()} times (aim: {COST_AIM})"
    )


_PLACE = re.compile(r"^(?:\S+: )?\S+\+0x[0-9a-f]+(?: \(in [^)]*\))?: ")


def reasons(results: list[Result], verdicts: frozenset[str]) -> list[tuple[str, int, str]]:
    """Return the reasons of the given verdicts, most frequent first: (reason, count, an example).

    Places and numbers are left out, so that the same reason at two places is one.
    """
    counts: Counter[str] = Counter()
    example: dict[str, str] = {}
    for result in results:
        if result.verdict in verdicts:
            lines = result.detail.splitlines() or [""]
            line = lines[-1] if result.verdict == "crashed" else first_error(result.detail)
            line = re.sub(r": got .* bytes differ.*", " differs", _PLACE.sub("", line))
            reason = re.sub(r"0x[0-9a-f]+|\b\d+\b", "N", line)
            reason = f"{result.verdict}: {reason}"[:240]
            counts[reason] += 1
            example.setdefault(reason, f"{result.source} ({result.compiler} {result.flags})")
    return [(reason, count, example[reason]) for reason, count in counts.most_common()]


def versions(results: list[Result]) -> list[str]:
    """Return what was used: compilers with their assemblers, the sources, and nopfix itself."""
    used = {
        f"{result.compiler}: {result.version}"
        + ("" if result.assembler in ("", result.version) else f", {result.assembler}")
        for result in results
        if result.version
    }
    origins = sorted({result.origin for result in results if result.origin})
    return [
        *sorted(used),
        *([f"sources: {', '.join(origins)}"] if origins else []),
        f"nopfix: {', '.join(sorted({result.nopfix for result in results}))}",
    ]


# -- text -----------------------------------------------------------------------------------------


#: More lines than this of one kind aren't shown on a terminal: the HTML has them all.
_MOST_LINES = 10
#: In characters: more than any table's line.
_WIDEST = 1000


def as_text(results: list[Result], left_out: list[LeftOut] | None = None) -> str:
    """Write the report for a terminal: a row for each corpus and compiler, then what isn't good."""
    if not results:
        return "no results"
    counted = rows(results, _WHERE[:2])
    everything = total(counted)
    lines = _text_table([*counted, everything])
    lines += ["", *filter(None, [cost_line(everything)]), *versions(results)]
    lines += _left_out_lines(left_out or [])
    unexpected = [result for result in results if not baseline.expects(result)]
    lines += _reason_lines("refusals", reasons(unexpected, frozenset({"refused"})))
    lines += _reason_lines("wrong", reasons(results, WRONG))
    return "\n".join(lines)


def _text_table(counted: list[Row]) -> list[str]:
    """Set the rows' columns below their names; lines may be longer than a terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in _WHERE[:2]:
        table.add_column(name, no_wrap=True)
    for name in _COLUMNS:
        table.add_column(name, no_wrap=True, justify="right")
    for row in counted:
        table.add_row(*row[:2], *row.cells())
    console = Console(file=io.StringIO(), width=_WIDEST, markup=False, color_system=None)
    with console.capture() as written:
        console.print(table)
    return [line.rstrip() for line in written.get().splitlines()]


def as_markdown(results: list[Result]) -> str:
    """Write the table by corpus and compiler as docs/corpus.md has it, with versions and cost."""
    counted = rows(results, _WHERE[:2])
    everything = total(counted)
    header = (*_WHERE[:2], *_COLUMNS)
    lines = [header, ("---",) * 2 + ("---:",) * len(_COLUMNS)]
    lines += [(*row[:2], *row.cells()) for row in [*counted, everything]]
    table = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([*table, "", cost_line(everything), *versions(results)])


def _left_out_lines(left_out: list[LeftOut]) -> list[str]:
    """Say which option lists a compiler doesn't take: a line for each message of it."""
    by_message: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in left_out:
        by_message[one.compiler, one.message].append(one.flags)
    lines = ["", "option lists left out, which the compiler doesn't take:"] if left_out else []
    for (compiler, message), flags in by_message.items():
        more = f" and {len(flags) - 1} more" if len(flags) > 1 else ""
        lines.append(f"  {compiler} {_options(flags[0])}{more}: {message}"[:200])
    return lines


def _reason_lines(title: str, found: list[tuple[str, int, str]]) -> list[str]:
    lines = ["", f"{title}, most frequent first:"] if found else []
    for reason, count, where in found[:_MOST_LINES]:
        lines += [f"{count:7} {reason}", f"        e.g. {where}"]
    if rest := found[_MOST_LINES:]:
        count = sum(count for _, count, _ in rest)
        lines.append(f"{count:7} more, of {len(rest)} other reasons: report --html has them")
    return lines


# -- HTML -----------------------------------------------------------------------------------------

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #667; --line: #d7dbe0; --paper: #fff;
  --good: #1a7f4b; --bad: #c0362c; --mark: #2f6fb3; --band: #f4f6f8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e6ea; --soft: #99a; --line: #3a4048;
  --paper: #15181c; --good: #54c08a; --bad: #f08078; --mark: #79b0ea; --band: #1d2126; } }
body { font: 14px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  margin: 2rem auto; max-width: 84rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
p.note, figcaption { color: var(--soft); } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .45rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { position: sticky; top: 0; background: var(--paper); font-weight: 600; }
.left { text-align: left; } td.long { white-space: normal; overflow-wrap: anywhere; }
td.left:nth-child(3) { white-space: normal; }
tr:nth-child(even) td { background: var(--band); }
tr.sum td { font-weight: 600; border-top: 2px solid var(--ink); }
.good { color: var(--good); } .bad { color: var(--bad); font-weight: 600; }
figure { margin: 1rem 0; }
.charts { display: flex; flex-wrap: wrap; gap: 2rem; }
"""


def as_html(results: list[Result]) -> str:
    """Write the report as one self-contained HTML document."""
    counted = rows(results)
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>nopfix regression run</title><style>{_STYLE}</style></head><body>",
        "<h1>nopfix regression run</h1>",
        f"<p class='note'>{now}. {_escape('; '.join(versions(results)))}</p>",
        f"<p>{_summary(total(counted))}</p>",
        f"<p>{_escape(cost_line(total(counted)))}</p>",
        "<h2>By corpus and compiler</h2><div class='wide'>"
        + _table(rows(results, _WHERE[:2]), _WHERE[:2])
        + f"{_NOTE}</div>",
        _reason_table("Refusals", reasons(results, frozenset({"refused"}))),
        _reason_table("Wrong", reasons(results, WRONG)),
        _charts(results),
        "<h2>By corpus, compiler and flags</h2><div class='wide'>",
        _table(counted, _WHERE),
        "</div></body></html>",
    ]
    return "\n".join(part for part in parts if part)


def _escape(text: str) -> str:
    return html.escape(text)


def _summary(row: Row) -> str:
    verdict = (
        "<span class='good'>nothing wrong</span>"
        if not row.wrong and not row.refused
        else f"<span class='bad'>{row.wrong} wrong, {row.refused} refused unexpectedly</span>"
    )
    return (
        f"{row.compiled:,} objects, {row.to_fix:,} of them with a call to fix, {row.nops:,} nops "
        f"inserted: {verdict}; {row.expected:,} refused as expected."
    )


_NOTE = (
    "<p class='note'>compiled: all but what the compiler refused. to fix: with a call that lacks "
    "its slot. equal: every section, relocation and symbol as the assembler makes it; by rule: of "
    "these, with a line table of the same rows. expected: refused, as the baseline says of the "
    "source; by option: as it says of an option, whatever the source. cost: the whole case against "
    "compiling and assembling alone.</p>"
)


def _table(counted: list[Row], where: tuple[str, ...]) -> str:
    head = "".join(f"<th class='left'>{name}</th>" for name in where)
    head += "".join(f"<th>{name}</th>" for name in _COLUMNS)
    body = "".join(_table_row(row, len(where)) for row in counted)
    sum_row = _table_row(total(counted), len(where), "sum")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}{sum_row}</tbody></table>"


def _table_row(row: Row, where: int, kind: str = "") -> str:
    cells = [f"<td class='left'>{_escape(str(cell))}</td>" for cell in row[:where]]
    for name, cell in zip(_COLUMNS, row.cells(), strict=True):
        style = "bad" if name in _MUST_BE_0 and cell != "0" else ""
        cells.append(f"<td class='{style}'>{cell}</td>")
    return f"<tr class='{kind}'>{''.join(cells)}</tr>"


def _reason_table(title: str, found: list[tuple[str, int, str]]) -> str:
    if not found:
        return f"<h2>{title}</h2><p>None.</p>"
    lines = "".join(
        f"<tr><td>{count}</td><td class='left long'>{_escape(reason)}</td>"
        f"<td class='left long'>{_escape(where)}</td></tr>"
        for reason, count, where in found[:100]
    )
    return (
        f"<h2>{title}, most frequent first</h2><table><thead><tr><th>cases</th>"
        f"<th class='left'>reason</th><th class='left'>for example</th></tr></thead>"
        f"<tbody>{lines}</tbody></table>"
    )


def _charts(results: list[Result]) -> str:
    """Draw what the objects cost that came out right, in time and in size."""
    from nopfix.corpus import charts

    good = [one for one in results if one.verdict in ("equal", "rewritten")]
    points = [
        (one.assemble_time, one.rewrite_time, f"{one.source} ({one.compiler} {one.flags})")
        for one in good
        if one.assemble_time
    ]
    percent = [
        100 * (one.size_after - one.size_before) / one.size_before
        for one in good
        if one.size_before
    ]
    drawn = ""
    if points:
        caption = (
            "nopfix (in process) against the assembler, one point per object; dashed: as fast."
        )
        drawn += _figure(charts.times(points), caption)
    if percent:
        caption = f"How much rewritten objects grew; the median is {median(percent):.1f} %."
        drawn += _figure(charts.growth(percent), caption)
    return f"<h2>Time and size</h2><div class='charts'>{drawn}</div>" if drawn else ""


def _figure(drawn: str, caption: str) -> str:
    return f"<figure>{drawn}<figcaption>{caption}</figcaption></figure>"
