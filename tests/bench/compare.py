"""Tables that were kept: as Markdown, and two of them, what got slower or faster row by row."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.bench.paired import Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Ratios of ratios that say something where each was taken in pairs.
SLOWER = 1.1


def read(path: Path) -> tuple[dict[str, str], dict[tuple[str, str], Row]]:
    """The versions, and the rows by group and name, that were kept in a file."""
    kept = json.loads(path.read_text())
    rows = [Row(**fields) for fields in kept["rows"]]
    return kept["versions"], {(row.group, row.name): row for row in rows}


def lines(old: Path, new: Path) -> Iterator[tuple[str, bool]]:
    """A line for each row that both have, and whether it got worse.

    It did where the new ratio is a tenth larger and the ranges of both don't meet.
    """
    before, after = read(old)[1], read(new)[1]
    for key, row in after.items():
        if key not in before:
            yield f"{'new':>7} {row.line()}", False
            continue
        was = before[key]
        factor = row.ratio / was.ratio
        worse = factor > SLOWER and row.least > was.most
        mark = (
            "slower" if worse else "faster" if factor * SLOWER < 1 and row.most < was.least else ""
        )
        yield (
            f"{factor:7.2f} {row.group:10} {row.name:44.44} {was.ratio:7.3f} -> {row.ratio:7.3f}"
            f" {mark}".rstrip(),
            worse,
        )
    for key, row in before.items():
        if key not in after:
            yield f"{'gone':>7} {row.line()}", False


def markdown(path: Path) -> Iterator[str]:
    """The lines of a kept table as docs/performance.md has them; what missed its aim in bold."""
    versions, rows = read(path)
    yield "; ".join(f"{name} {version}" for name, version in versions.items()) + ":"
    yield ""
    yield "| group | what | ratio | range | at most | CPU ms |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in rows.values():
        missed = row.aim is not None and row.ratio > row.aim
        ratio = f"**{row.ratio:.2f}**" if missed else f"{row.ratio:.2f}"
        aim = "" if row.aim is None else f"{row.aim:g}"
        ms = f"{row.ms:.0f}" if row.ms else ""
        span = f"{row.least:.2f} to {row.most:.2f}"
        yield f"| {row.group} | {row.name} | {ratio} | {span} | {aim} | {ms} |"


def show(old: Path, new: Path) -> int:
    """Print the comparison; returns 1 where a row got slower."""
    for (name, was), now in zip(read(old)[0].items(), read(new)[0].values(), strict=False):
        print(f"{name}: {was}" if was == now else f"{name}: {was} -> {now}")
    print()
    slower = False
    for line, worse in lines(old, new):
        print(line)
        slower |= worse
    return 1 if slower else 0
