"""``--html FILE``: an object before and after as one page, which needs nothing but itself.

Sections with their sizes, then each function as it is now: a slot, padding and what changed have
their colours, and arrows in the margin show where branches and the entries of switch tables lead.
Functions in which nothing was put are folded up.  There is no script in it; what folds, scrolls and
explains itself under the pointer is HTML's own.

Rows are all of one height, so that an arrow's ends can be computed here.
"""

from __future__ import annotations

import html

from nopfix import __version__
from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nopfix.rewriter.show.compared import Compared, Function, Line

_ROW = 18  # pixels
_LANE = 9
_MOST_LANES = 14
_MOST_ARROWS = 400
_BAR = 160
_MANY_SECTIONS = 40

_STYLE = """
:root { --back: #fff; --text: #1d1f21; --dim: #767b80; --line: #e2e4e6; --slot: #c9f0cf;
  --padding: #eceef0; --changed: #fff0c2; --data: #eef3fb; --moved: #c2571a; --table: #2a62b8; }
@media (prefers-color-scheme: dark) { :root { --back: #17191c; --text: #dadde0; --dim: #8a9096;
  --line: #33373b; --slot: #1d4d27; --padding: #26292d; --changed: #4d4013; --data: #1c2736;
  --moved: #f0904f; --table: #7fb0ff; } }
body { margin: 2em auto; max-width: 88em; padding: 0 1em; background: var(--back);
  color: var(--text); font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.4em; } h2 { font-size: 1.1em; margin-top: 2em; }
code, .code, td.n { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 12.5px; }
table { border-collapse: collapse; } td, th { padding: 1px 1em 1px 0; text-align: left; }
td.n { text-align: right; } tr.grown td { font-weight: 600; }
.bar { display: inline-block; height: 8px; background: var(--dim); vertical-align: middle; }
.more { background: var(--moved); }
.dim { color: var(--dim); } .refused { border: 2px solid var(--moved); padding: .6em 1em; }
.key b { font-weight: normal; padding: 1px 8px; margin-right: 1em; }
summary { cursor: pointer; padding: 3px 0; border-top: 1px solid var(--line); }
.function { position: relative; overflow-x: auto; padding-bottom: 6px; }
.function svg { position: absolute; left: 0; top: 0; }
.w { height: 18px; line-height: 18px; white-space: pre; }
.w i, .w b { display: inline-block; width: 5.5em; font-style: normal; font-weight: normal;
  color: var(--dim); } .w u { display: inline-block; min-width: 27em; text-decoration: none; }
.w s { color: var(--dim); text-decoration: none; } .w em { color: var(--dim); font-style: normal; }
.slot { background: var(--slot); } .padding { background: var(--padding); }
.data { background: var(--data); } .changed, .branch { background: var(--changed); }
.why { color: var(--table); padding-left: 11em; }
path { fill: none; stroke: var(--dim); stroke-width: 1; } path.moved { stroke: var(--moved); }
path.entry { stroke: var(--table); stroke-dasharray: 3 2; }
"""


class _Arrow(Record):
    """From one row to another, by number; its kind is a class of the style sheet."""

    start: int
    end: int
    kind: str
    title: str


def page(name: str, compared: Compared) -> str:
    """The page about the object ``name``."""
    return "".join(_parts(name, compared))


def _parts(name: str, compared: Compared) -> Iterator[str]:
    title = f"nopfix: {name}"
    yield (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{_escape(title)}</title><style>{_STYLE}</style></head><body>\n"
        f"<h1><code>{_escape(name)}</code></h1>\n"
    )
    slots = sum(function.slots for function in compared.functions)
    if compared.refusal is not None:
        yield f'<p class="refused">Refused, and so as it was: {_escape(compared.refusal)}</p>\n'
    else:
        sizes = f"{compared.old_size:,} bytes before, {compared.new_size:,} after"
        yield f"<p>{_counted(slots)} put in; {sizes} (nopfix {__version__}).</p>\n"
    yield _contents(compared.functions)
    yield "<h2>Sections before and after</h2>\n"
    yield _sections(compared.sections)
    if compared.sibling_calls:
        yield "<h2>Sibling calls, which can have no slot</h2>\n<ul>"
        yield from (f"<li>{_escape(line)}</li>" for line in compared.sibling_calls)
        yield "</ul>\n"
    yield (
        '<h2>Functions</h2>\n<p class="key"><b class="slot">slot</b><b class="padding">padding</b>'
        '<b class="changed">other bits, or put in for a branch</b><b class="data">data</b>'
        "Offsets: before, after. Arrows: branches, those with another distance "
        '<span style="color:var(--moved)">coloured</span>, entries of switch '
        "tables dashed.</p>\n"
    )
    for number, function in enumerate(compared.functions):
        yield from _function(number, function)
    yield "</body></html>\n"


def _escape(text: str) -> str:
    return html.escape(printable(text))


def _counted(slots: int) -> str:
    return "1 slot" if slots == 1 else f"{slots} slots"


def _contents(functions: Sequence[Function]) -> str:
    links = [
        f'<a href="#f{number}">{_escape(function.name or function.section)}</a> {function.slots}'
        for number, function in enumerate(functions)
        if function.slots
    ]
    return f"<p>{', '.join(links)}</p>\n" if links else ""


def _sections(sections: Sequence[tuple[str, int, int]]) -> str:
    """The table of sections; where most keep their size, these are folded up."""
    largest = max((max(old, new) for _, old, new in sections), default=1) or 1
    kept = [each for each in sections if each[1] == each[2]]
    if len(sections) <= _MANY_SECTIONS:
        return _table(sections, largest)
    grown = [each for each in sections if each[1] != each[2]]
    return (
        f"{_table(grown, largest)}<details><summary>{len(kept)} sections that keep their size"
        f"</summary>{_table(kept, largest)}</details>\n"
    )


def _table(sections: Sequence[tuple[str, int, int]], largest: int) -> str:
    rows = []
    for name, old, new in sections:
        width = old * _BAR // largest
        more = max(0, new - old) * _BAR // largest + (new > old)
        grown = f"{new - old:+,}" if new != old else ""
        rows.append(
            f"<tr{' class=grown' if grown else ''}><td><code>{_escape(name)}</code></td>"
            f'<td class="n">{old:,}</td><td class="n">{new:,}</td><td class="n">{grown}</td>'
            f'<td><span class="bar" style="width:{width}px"></span>'
            f'<span class="bar more" style="width:{more}px"></span></td></tr>\n'
        )
    head = "<tr><th>section</th><th>before</th><th>after</th><th></th><th></th></tr>"
    return f"<table>{head}{''.join(rows)}</table>\n"


def _function(number: int, function: Function) -> Iterator[str]:
    changed = any(line.before is not None for line in function.lines)
    is_open = " open" if function.slots or changed else ""
    what = _counted(function.slots) if function.slots else "no slot put in"
    yield (
        f'<details id="f{number}"{is_open}><summary><code>{_escape(function.name or "(no name)")}'
        f'</code> <span class="dim">{_escape(function.section)}+{function.lines[0].new:#x}, {what}'
        "</span></summary>\n"
    )
    rows, numbers = _rows(function.lines)
    arrows = list(_arrows(function.lines, numbers))[:_MOST_ARROWS]
    lanes = _lanes(arrows)
    width = (max(lanes, default=-1) + 2) * _LANE
    yield f'<div class="function code" style="padding-left:{width + 8}px">'
    if arrows:
        yield f'<svg width="{width + 8}" height="{len(rows) * _ROW}">'
        yield from (_path(*each, width) for each in zip(arrows, lanes, strict=True))
        yield "</svg>"
    yield from rows
    yield "</div></details>\n"


def _rows(lines: Sequence[Line]) -> tuple[list[str], dict[int, int]]:
    """The rows' HTML, and the number of each word's row by its new offset."""
    rows: list[str] = []
    numbers = {}
    source = None
    for line in lines:
        numbers[line.new] = len(rows)
        kind = line.kind if line.kind in ("code", "slot", "padding", "branch") else "data"
        if line.before is not None:
            kind += " changed"
        title = f' title="before: {_escape(line.before)}"' if line.before is not None else ""
        old = "" if line.old is None else f"{line.old:x}"
        note = f"{line.kind} {line.note}" if kind.startswith("data") else line.note
        said = f"<em>{_escape(note)}</em>" if note.strip() else ""
        if line.source is not None and line.source != source:
            source = line.source
            said += f"  <s>{_escape(source)}</s>"
        rows.append(
            f'<div class="w {kind}"{title}><i>{old}</i><b>{line.new:x}</b>'
            f"<u>{_escape(line.text)}</u>{said}</div>\n"
        )
        if line.proof is not None:
            for reason in (line.proof.kind, *line.proof.reasons):
                rows.append(f'<div class="w why">{_escape(reason)}</div>\n')
    return rows, numbers


def _arrows(lines: Sequence[Line], rows: dict[int, int]) -> Iterator[_Arrow]:
    for line in lines:
        if line.leads_to is None or line.leads_to not in rows:
            continue
        kind = "entry" if line.kind == "switch table" else "moved" if line.before else "branch"
        title = f"{line.new:x} to {line.leads_to:x}"
        yield _Arrow(rows[line.new], rows[line.leads_to], kind, title)


def _lanes(arrows: Sequence[_Arrow]) -> list[int]:
    """A lane for each arrow, short ones next to the code, none across another as far as it goes."""
    taken: list[list[tuple[int, int]]] = [[] for _ in range(_MOST_LANES)]
    lanes = [0] * len(arrows)
    lengths = [abs(arrow.end - arrow.start) for arrow in arrows]
    for index in sorted(range(len(arrows)), key=lengths.__getitem__):
        low, high = sorted((arrows[index].start, arrows[index].end))
        for lane, spans in enumerate(taken):
            if lane == _MOST_LANES - 1 or all(high < start or low > end for start, end in spans):
                spans.append((low, high))
                lanes[index] = lane
                break
    return lanes


def _path(arrow: _Arrow, lane: int, width: int) -> str:
    middle = _ROW // 2
    begin, end = arrow.start * _ROW + middle, arrow.end * _ROW + middle
    left = width - (lane + 1) * _LANE
    head = f"M{width - 1} {end - 3}L{width + 4} {end}L{width - 1} {end + 3}"
    return (
        f'<path class="{arrow.kind}" d="M{width + 4} {begin}H{left}V{end}H{width + 4}{head}">'
        f"<title>{arrow.title}</title></path>"
    )
