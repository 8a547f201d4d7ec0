"""What changed between two runs: better, worse, slower.

Cases are matched by what they are (corpus, source, compiler, flags), not by the versions of nopfix
that ran them.  A case is worse when its verdict is: from good to refused, from refused to wrong.  A
run that is slower as a whole is reported, but is no failure: machines differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from corpus.case import Result

#: Verdicts from best to worst; what is about the source alone isn't ranked.
_RANK = {
    "equal": 0, "unchanged": 0, "rewritten": 0, "unjudged": 1, "assemble-failed": 1, "refused": 2,
    "not-verified": 3, "no-slot": 3, "gdb-changed": 3, "run-changed": 3, "differs": 3, "crashed": 4,
}  # fmt: skip

#: A case counts as slower from this factor on, and from this many seconds on.
_SLOWER_FACTOR = 1.5
_SLOWER_SECONDS = 0.02


class Change(NamedTuple):
    """One case that has another verdict, or takes longer, than before."""

    old: Result
    new: Result


class Changes(NamedTuple):
    """The comparison of two runs; `old_time` and `new_time` are nopfix's seconds over the cases
    that are good in both.
    """

    better: list[Change]
    worse: list[Change]
    slower: list[Change]
    appeared: list[Result]
    vanished: list[Result]
    old_time: float
    new_time: float


def _identity(result: Result) -> tuple[str, ...]:
    return result.corpus, result.source, result.compiler, result.flags


def compare(old: list[Result], new: list[Result]) -> Changes:
    """Compare the newest results of two result files."""
    before = {_identity(result): result for result in old}
    after = {_identity(result): result for result in new}
    changes = Changes([], [], [], [], [], 0.0, 0.0)
    old_time = new_time = 0.0
    for identity, now in after.items():
        was = before.get(identity)
        if was is None:
            changes.appeared.append(now)
            continue
        rank_was, rank_now = _RANK.get(was.verdict), _RANK.get(now.verdict)
        if rank_was is None or rank_now is None:
            if rank_was is not rank_now:
                (changes.better if rank_was is None else changes.worse).append(Change(was, now))
            continue
        if rank_now != rank_was:
            (changes.worse if rank_now > rank_was else changes.better).append(Change(was, now))
        elif rank_now == 0:
            old_time += was.rewrite_time
            new_time += now.rewrite_time
            more = now.rewrite_time - was.rewrite_time
            if more > _SLOWER_SECONDS and now.rewrite_time > _SLOWER_FACTOR * was.rewrite_time:
                changes.slower.append(Change(was, now))
    changes.vanished.extend(before[identity] for identity in before.keys() - after.keys())
    return changes._replace(old_time=old_time, new_time=new_time)


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
        f"  {_case(now)}: {1e3 * was.rewrite_time:.0f} -> {1e3 * now.rewrite_time:.0f} ms"
        for was, now in changes.slower[:limit]
    )
    lines.append(f"new cases: {len(changes.appeared)}, gone: {len(changes.vanished)}")
    if changes.old_time:
        ratio = changes.new_time / changes.old_time
        lines.append(
            f"nopfix's time over cases good in both: {changes.old_time:.1f} s -> "
            f"{changes.new_time:.1f} s ({ratio:.2f} times)"
        )
    return "\n".join(lines)
