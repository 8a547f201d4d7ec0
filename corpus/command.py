"""``nopfix-corpus``: run the matrix, compare two runs, report, reduce a failure."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from corpus import baseline, case, matrix, plan, pool, sources, store, toolchain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from corpus.case import Case, Result

#: How often plain progress lines are printed when the output is no terminal, in seconds.
PLAIN_INTERVAL = 30.0
#: Results are committed to the file at least this often, in seconds.
COMMIT_INTERVAL = 2.0

GOOD = frozenset({"equal", "unchanged", "rewritten"})
#: Verdicts about the source and the compiler, not about nopfix.
NOTHING_TO_SAY = frozenset({"compile-failed"})

#: What ``--resume`` takes from the last run.
_REMEMBERED = ("matrix", "corpus", "cc", "flags", "list", "check", "thin")

_EXAMPLES = """examples:
  nopfix-corpus run --corpus gcc.c-torture/execute --cc gcc-12 --flags=-O2 --flags="-O2 -g"
  nopfix-corpus run --corpus all --cc gcc-12 --cc gcc-11 --list code --list debug -j 8
  nopfix-corpus run --corpus csmith:1-500 --cc gcc-12 --list levels --check oracle,qemu,slots
  nopfix-corpus run --corpus all --cc gcc-12 --list code --list debug --thin 2
  nopfix-corpus run --matrix full --thin 1
  nopfix-corpus run --resume
  nopfix-corpus report --html report.html
  nopfix-corpus compare yesterday.db today.db
  nopfix-corpus reduce "gcc.c-torture/execute/pr92904.c" --cc gcc-12 --flags="-O2 -g"
"""


def failed(result: Result) -> bool:
    """Say whether a result is one that must not be: neither good nor expected."""
    if result.verdict in GOOD or result.verdict in NOTHING_TO_SAY:
        return False
    if result.verdict == "refused":
        return not baseline.reason(result.source, result.compiler, result.flags, result.detail)
    return True


# -- run ------------------------------------------------------------------------------------------


def _matrix(options: argparse.Namespace) -> list[Case]:
    """Return the cases that the command line asks for.  Raises ValueError for a check unknown."""
    checks = tuple(options.check.split(","))
    if unknown := set(checks) - set(case.CHECKS):
        raise ValueError(f"no such check: {', '.join(sorted(unknown))}")
    if options.matrix:
        asked, parts = ["all"], matrix.MATRICES[options.matrix]
    else:
        asked = ["gcc.c-torture/execute"]
        parts = (matrix.Part(tuple(options.cc or ["gcc-12"]), tuple(options.list or ())),)
    corpora = [
        name
        for one in options.corpus or asked
        for name in (sources.CORPORA if one == "all" else (one,))
    ]
    kept = str(options.keep_objects.resolve()) if options.keep_objects else ""
    made = []
    for part in parts:
        flags = [tuple(text.split()) for text in options.flags or ()]
        flags += [entry for name in part.lists for entry in matrix.LISTS[name]]
        every = dict.fromkeys(flags or [("-O2",)])
        made += plan.cases(corpora, part.compilers, every, checks, thin=options.thin, objects=kept)
    return made


def _run(options: argparse.Namespace) -> int:
    from corpus import report

    with store.opened(options.db) as results:
        if options.resume:
            remembered = results.arguments()
            if remembered is None:
                print(f"nopfix-corpus: {options.db}: there is no run to resume", file=sys.stderr)
                return 2
            for name, value in remembered.items():
                setattr(options, name, value)
        everything = _matrix(options)
        results.remember({name: getattr(options, name) for name in _REMEMBERED})
        known = results.keys()
        keys = {one: case.key(one) for one in everything}
        todo = [one for one in everything if keys[one] not in known]
        if options.limit:
            todo = todo[: options.limit]
        print(f"{len(everything)} cases, {len(everything) - len(todo)} of them known", flush=True)
        if options.scheduler:
            coming = pool.run_on_cluster(todo, options.scheduler)
        else:
            coming = pool.run_local(todo, options.jobs)
        _collect(coming, len(todo), results)
        wanted = set(keys.values())
        rows = [result for result in results.results() if result.key in wanted]
    print(report.as_text(rows))
    return 1 if any(failed(result) for result in rows) else 0


def _collect(coming: Iterable[Result], total: int, results: store.Store) -> None:
    """Store results as they come, showing progress."""
    counts: Counter[str] = Counter()
    batch: list[Result] = []
    committed = time.monotonic()
    try:
        for result in _with_progress(coming, total, counts):
            counts[result.verdict] += 1
            batch.append(result)
            if time.monotonic() - committed > COMMIT_INTERVAL:
                results.add(batch)
                batch, committed = [], time.monotonic()
    finally:
        results.add(batch)


def _with_progress(coming: Iterable[Result], total: int, counts: Counter[str]) -> Iterator[Result]:
    """Pass results through, with a bar on a terminal and with plain lines elsewhere."""
    if sys.stdout.isatty():
        yield from _with_bar(coming, total, counts)
        return
    begun = shown = time.monotonic()
    for done, result in enumerate(coming, 1):
        yield result
        now = time.monotonic()
        if now - shown > PLAIN_INTERVAL:
            shown = now
            rate = done / (now - begun)
            verdicts = ", ".join(f"{count} {name}" for name, count in counts.most_common())
            left = (total - done) / rate
            print(f"{done}/{total}, {rate:.1f}/s, {left:.0f} s left: {verdicts}", flush=True)


def _with_bar(coming: Iterable[Result], total: int, counts: Counter[str]) -> Iterator[Result]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )  # fmt: skip

    columns = (
        BarColumn(), MofNCompleteColumn(), TextColumn("{task.speed:.1f}/s"),
        TimeRemainingColumn(), TextColumn("{task.description}"),
    )  # fmt: skip
    with Progress(*columns) as progress:
        task = progress.add_task("", total=total)
        for result in coming:
            yield result
            text = " ".join(f"{name} {count}" for name, count in counts.most_common())
            progress.update(task, advance=1, description=text)


# -- the other subcommands ------------------------------------------------------------------------


def _report(options: argparse.Namespace) -> int:
    from corpus import report

    with store.opened(options.db) as results:
        rows = results.results()
    print(report.as_text(rows))
    if options.html:
        options.html.write_text(report.as_html(rows), "utf-8")
    return 0


def _compare(options: argparse.Namespace) -> int:
    from corpus import changes

    for path in (options.old, options.new):
        if not path.exists():
            print(f"nopfix-corpus: {path}: no such file", file=sys.stderr)
            return 2
    with store.opened(options.old) as old, store.opened(options.new) as new:
        found = changes.compare(old.results(), new.results())
    print(changes.as_text(found))
    return 1 if found.worse else 0


def _reduce(options: argparse.Namespace) -> int:
    from corpus import reduce

    status: int = reduce.reduce(
        options.case, options.cc, tuple(options.flags.split()), options.output, options.jobs
    )
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nopfix-corpus",
        description="Run nopfix over corpora of compiler output and see what changed.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def add_database(to: argparse.ArgumentParser) -> None:
        to.add_argument(
            "--db", type=Path, default=Path("nopfix-corpus.db"), metavar="FILE",
            help="the results file (default %(default)s)",
        )  # fmt: skip

    run = commands.add_parser("run", help="compile, rewrite and check a matrix of cases")
    run.add_argument(
        "--corpus", action="append", metavar="NAME|DIR",
        help=f"{', '.join(sources.CORPORA)}, all, csmith:FIRST-LAST, kernel:DIR or a folder",
    )  # fmt: skip
    run.add_argument("--cc", action="append", metavar="CC", help="gcc-12, gcc-11, clang-19 ...")
    run.add_argument("--flags", action="append", metavar='"..."', help="one list of flags")
    run.add_argument(
        "--list", action="append", choices=sorted(matrix.LISTS), help="flags known by name"
    )
    run.add_argument(
        "--check", default="oracle,slots", metavar="CHECK,...",
        help=f"of {', '.join(case.CHECKS)} (default %(default)s)",
    )  # fmt: skip
    run.add_argument(
        "--matrix", choices=sorted(matrix.MATRICES),
        help="all corpora, compilers and flags of this name (--corpus, --thin restrict it)",
    )  # fmt: skip
    run.add_argument(
        "--thin", type=int, default=0, metavar="N", help="each source with N of the flag lists only"
    )
    run.add_argument("-j", "--jobs", type=int, default=0, help="processes (default: one per CPU)")
    run.add_argument("--scheduler", metavar="ADDRESS", help="run on this Dask cluster")
    run.add_argument("--resume", action="store_true", help="go on with the last run of the file")
    run.add_argument(
        "--keep-objects", type=Path, metavar="DIR",
        help="keep what the compilers make here, and take it from here",
    )  # fmt: skip
    run.add_argument("--limit", type=int, default=0, metavar="N", help="at most N cases now")
    add_database(run)
    run.set_defaults(action=_run)

    report = commands.add_parser("report", help="tables and charts of the results")
    report.add_argument("--html", type=Path, metavar="FILE", help="write one HTML file too")
    add_database(report)
    report.set_defaults(action=_report)

    compare = commands.add_parser("compare", help="what got better, worse, slower")
    compare.add_argument("old", type=Path, metavar="OLD")
    compare.add_argument("new", type=Path, metavar="NEW")
    compare.set_defaults(action=_compare)

    reduce = commands.add_parser("reduce", help="shrink a failing source with creduce")
    reduce.add_argument("case", metavar="CASE", help="a source, by path or by its short name")
    reduce.add_argument("--cc", default="gcc-12")
    reduce.add_argument("--flags", default="-O2")
    reduce.add_argument("-o", "--output", type=Path, help="where to keep the result")
    reduce.add_argument("-j", "--jobs", type=int, default=1)
    reduce.set_defaults(action=_reduce)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 when nothing is wrong, 1 for failures, 2 for usage and missing tools."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.action(options)
    except (sources.NoSources, toolchain.ToolError, ValueError, OSError) as error:
        print(f"nopfix-corpus: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("nopfix-corpus: stopped; --resume goes on from here", file=sys.stderr)
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
