"""What changed between two runs: better, worse, slower.

Cases are matched by what they are (corpus, source, compiler, flags), not by the versions of nopfix
that ran them.  A case is worse when its verdict is: from good to refused, from refused to wrong.

Slower is judged by the processor's time, which a busy machine changes little, and only where it
can't be chance: a case that takes several times as long and a good part of a second more (work that
no longer grows linearly), or the whole run by its median.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, NamedTuple

from nopfix.corpus.verdicts import KINDS

if TYPE_CHECKING:
    from nopfix.corpus.case import Result

#: A case counts as slower from this factor on, and from this many seconds on.
_SLOWER_FACTOR = 2.0
_SLOWER_SECONDS = 0.1
#: The run counts as slower when its median case is, by this factor, over this many cases or more.
_RUN_FACTOR = 1.25
_RUN_CASES = 30
#: Below this many seconds a case says nothing about speed.
_TOO_SHORT = 0.0005


class Change(NamedTuple):
    """One case that has another verdict, or takes longer, than before."""

    old: Result
    new: Result


class Changes(NamedTuple):
    """The comparison of two runs.

    `slower` are cases; `ratio` is the median of new over old time, over the `timed` cases that were
    rewritten in both runs, 1.0 where there are none.
    """

    better: list[Change]
    worse: list[Change]
    slower: list[Change]
    appeared: list[Result]
    vanished: list[Result]
    ratio: float = 1.0
    timed: int = 0

    @property
    def run_is_slower(self) -> bool:
        """Say whether the new run as a whole is slower."""
        return self.timed >= _RUN_CASES and self.ratio > _RUN_FACTOR


def _seconds(result: Result) -> float:
    """Return nopfix's time in a case; files of before `rewrite_cpu` have the clock's alone."""
    return result.rewrite_cpu or result.rewrite_time


def compare(old: list[Result], new: list[Result]) -> Changes:
    """Compare the newest results of two result files."""
    before = {result.identity(): result for result in old}
    after = {result.identity(): result for result in new}
    changes = Changes([], [], [], [], [])
    ratios: list[float] = []
    for identity, now in after.items():
        was = before.get(identity)
        if was is None:
            changes.appeared.append(now)
            continue
        rank_was, rank_now = KINDS[was.verdict].rank, KINDS[now.verdict].rank
        if rank_now is None or rank_was is None:
            # What didn't compile and now does is better only when it comes out right.
            if rank_was != rank_now:
                (changes.better if rank_now == 0 else changes.worse).append(Change(was, now))
        elif rank_now != rank_was:
            (changes.worse if rank_now > rank_was else changes.better).append(Change(was, now))
        elif rank_now == 0 and min(_seconds(was), _seconds(now)) > _TOO_SHORT:
            if now.nops and was.nops:
                ratios.append(_seconds(now) / _seconds(was))
            more = _seconds(now) - _seconds(was)
            if more > _SLOWER_SECONDS and _seconds(now) > _SLOWER_FACTOR * _seconds(was):
                changes.slower.append(Change(was, now))
    changes.vanished.extend(before[identity] for identity in before.keys() - after.keys())
    return changes._replace(ratio=statistics.median(ratios or [1.0]), timed=len(ratios))


def _case(result: Result) -> str:
    return f"{result.source} ({result.compiler} {result.flags})"


def as_text(changes: Changes, limit: int = 50) -> str:
    """Write the comparison for a terminal, each list cut off after `limit` cases."""
    lines: list[str] = []
    for title, found in (("worse", changes.worse), ("better", changes.better)):
        lines.append(f"{title}: {len(found)}")
        for was, now in found[:limit]:
            lines.append(f"  {_case(now)}: {was.verdict} -> {now.verdict}")
            if title == "worse" and now.detail:
                lines.append(f"      {now.detail.splitlines()[0]}")
    lines.append(f"slower: {len(changes.slower)}")
    lines.extend(
        f"  {_case(now)}: {1e3 * _seconds(was):.0f} -> {1e3 * _seconds(now):.0f} ms"
        for was, now in changes.slower[:limit]
    )
    lines.append(f"new cases: {len(changes.appeared)}, gone: {len(changes.vanished)}")
    if changes.timed:
        verdict = "slower" if changes.run_is_slower else "no slower"
        lines.append(
            f"nopfix's time over the {changes.timed} cases rewritten in both: "
            f"{changes.ratio:.2f} times as long (median), {verdict}"
        )
    return "\n".join(lines)
