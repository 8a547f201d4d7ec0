"""``nopfix-corpus``: run the matrix, compare two runs, report, reduce a failure."""

from __future__ import annotations

import argparse
import importlib.util
import sqlite3
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from nopfix.corpus import baseline, case, matrix, plan, pool, sources, store, toolchain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nopfix.corpus.case import Case, Result

#: How often plain progress lines are printed when the output is no terminal, in seconds.
PLAIN_INTERVAL = 30.0
#: What is checked when nothing is said.
_CHECKS = "oracle,slots"
#: Results are committed to the file at least this often, in seconds.
COMMIT_INTERVAL = 0.5

#: What makes the matrix of a run: ``--resume`` takes it from the last one.
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

exit status: 0 nothing is wrong, 1 something is, 2 usage or a missing tool, 70 internal error
"""


class UsageError(Exception):
    """Arguments that don't go together, or that take what isn't installed."""


# -- run ------------------------------------------------------------------------------------------


def _matrix(options: argparse.Namespace) -> list[Case]:
    """Return the cases that the command line asks for.  Raises UsageError for a check unknown."""
    checks = tuple((options.check or _CHECKS).split(","))
    if unknown := set(checks) - set(case.CHECKS):
        raise UsageError(f"no such check: {', '.join(sorted(unknown))}")
    if options.matrix:
        asked, parts = ["all"], matrix.MATRICES[options.matrix]
    else:
        asked = ["gcc.c-torture/execute"]
        parts = (matrix.Part(tuple(options.cc or ["gcc-12"]), tuple(options.list or ())),)
    corpora = [name for one in options.corpus or asked for name in sources.expanded(one)]
    kept = str(options.keep_objects.resolve()) if options.keep_objects else ""
    made = []
    for part in parts:
        flags = [tuple(text.split()) for text in options.flags or ()]
        flags += [entry for name in part.lists for entry in matrix.LISTS[name]]
        every = dict.fromkeys(flags or [("-O2",)])
        made += plan.cases(corpora, part.compilers, every, checks, thin=options.thin, objects=kept)
    return made


def _run(options: argparse.Namespace) -> int:
    from nopfix.corpus import report

    with store.opened(options.db) as results:
        if options.resume:
            if given := [name for name in _REMEMBERED if getattr(options, name)]:
                raise UsageError(f"--resume takes --{given[0]} from the run that it goes on with")
            remembered = results.arguments()
            if remembered is None:
                print(f"nopfix-corpus: {options.db}: there is no run to resume", file=sys.stderr)
                return 2
            for name, value in remembered.items():
                setattr(options, name, value)
        everything = _matrix(options)
        _need_libraries(everything, options)
        results.remember({name: getattr(options, name) for name in _REMEMBERED})
        known = results.keys()
        keys = {one: case.key(one) for one in everything}
        todo = [one for one in everything if keys[one] not in known]
        text = f"{len(everything)} cases, {len(everything) - len(todo)} of them known"
        if options.limit:
            todo = todo[: options.limit]
            text += f", {len(todo)} to run now"
        print(text, flush=True)
        if options.scheduler:
            coming = pool.run_on_cluster(todo, options.scheduler)
        else:
            coming = pool.run_local(todo, options.jobs)
        _collect(coming, len(todo), results)
        wanted = set(keys.values())
        rows = [result for result in results.results() if result.key in wanted]
    print(report.as_text(rows))
    return 1 if any(baseline.failed(result) for result in rows) else 0


def _need_libraries(cases: Iterable[Case], options: argparse.Namespace) -> None:
    """Raise UsageError, before anything runs, when a library is missing that the run will need."""
    needed: dict[str, str] = {}
    if any("verify" in one.checks for one in cases):
        needed |= {"elftools": "verify", "construct": "verify", "capstone": "verify"}
    if sys.stdout.isatty():
        needed["rich"] = "corpus"
    if options.scheduler:
        needed["distributed"] = "cluster"
    for library, extra in needed.items():
        if importlib.util.find_spec(library) is None:
            raise UsageError(f"there is no module {library}; pip install 'nopfix[{extra}]'")


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
        BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]:.1f}/s"),
        TimeRemainingColumn(), TextColumn("{task.description}"),
    )  # fmt: skip
    with Progress(*columns) as progress:
        task = progress.add_task("", total=total, rate=0.0)
        begun = time.monotonic()
        for done, result in enumerate(coming, 1):
            yield result
            text = " ".join(f"{name} {count}" for name, count in counts.most_common())
            rate = done / (time.monotonic() - begun)
            progress.update(task, completed=done, description=text, rate=rate)


# -- the other subcommands ------------------------------------------------------------------------


def _report(options: argparse.Namespace) -> int:
    from nopfix.corpus import report

    with store.opened(options.db) as results:
        rows = results.results()
    print(report.as_markdown(rows) if options.markdown else report.as_text(rows))
    if options.html:
        options.html.write_text(report.as_html(rows), "utf-8")
    return 0


def _compare(options: argparse.Namespace) -> int:
    from nopfix.corpus import changes

    for path in (options.old, options.new):
        if not path.exists():
            print(f"nopfix-corpus: {path}: no such file", file=sys.stderr)
            return 2
    with store.opened(options.old) as old, store.opened(options.new) as new:
        found = changes.compare(old.results(), new.results())
    print(changes.as_text(found))
    if found.worse:
        return 1
    return 1 if (found.slower or found.run_is_slower) and not options.ignore_time else 0


def _reduce(options: argparse.Namespace) -> int:
    from nopfix.corpus import reduce

    known = []
    if options.db.exists():
        with store.opened(options.db) as results:
            known = results.results()
    failing = reduce.find(options.case, options.cc, options.flags, options.check, known)
    status: int = reduce.reduce(failing, options.output, options.jobs)
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
        help=f"all ({', '.join(sources.CORPORA)}), one of these, gcc.c-torture, g++.dg, "
        "csmith:FIRST-LAST, kernel:DIR or a folder",
    )  # fmt: skip
    run.add_argument("--cc", action="append", metavar="CC", help="gcc-12, gcc-11, clang-19 ...")
    run.add_argument("--flags", action="append", metavar='"..."', help="one list of flags")
    run.add_argument(
        "--list", action="append", choices=sorted(matrix.LISTS), help="flags known by name"
    )
    run.add_argument(
        "--check", metavar="CHECK,...",
        help=f"of {', '.join(case.CHECKS)} (default {_CHECKS}; ready-made objects: verify,slots)",
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
    report.add_argument(
        "--markdown", action="store_true", help="print the table by corpus and compiler alone"
    )
    add_database(report)
    report.set_defaults(action=_report)

    compare = commands.add_parser("compare", help="what got better, worse, slower")
    compare.add_argument("old", type=Path, metavar="OLD")
    compare.add_argument("new", type=Path, metavar="NEW")
    compare.add_argument(
        "--ignore-time", action="store_true", help="exit status 0 for what is only slower"
    )
    compare.set_defaults(action=_compare)

    reduce = commands.add_parser("reduce", help="shrink a failing source with creduce")
    reduce.add_argument(
        "case", metavar="CASE",
        help="a source, by its name in the results (then as it failed there) or by path",
    )  # fmt: skip
    reduce.add_argument("--cc", metavar="CC", help="compiler (else as it failed, else gcc-12)")
    reduce.add_argument("--flags", metavar='"..."', help="flags (else as it failed, else -O2)")
    reduce.add_argument("--check", metavar="CHECK,...", help="else as it failed, else oracle,slots")
    reduce.add_argument(
        "-o", "--output", type=Path, metavar="FILE",
        help="where to keep the result (default: among the regression tests)",
    )  # fmt: skip
    reduce.add_argument("-j", "--jobs", type=int, default=1)
    add_database(reduce)
    reduce.set_defaults(action=_reduce)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Returns 0 when nothing is wrong, 1 for failures, 2 for usage and missing tools, 70 for a mistake
    of its own.
    """
    options = _parser().parse_args(arguments)
    try:
        status: int = options.action(options)
    except (sources.NoSources, toolchain.ToolError, UsageError, OSError) as error:
        print(f"nopfix-corpus: {error}", file=sys.stderr)
        return 2
    except sqlite3.DatabaseError as error:
        print(f"nopfix-corpus: the results file can't be used: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("nopfix-corpus: stopped; --resume goes on from here", file=sys.stderr)
        return 130
    except Exception as error:
        from nopfix.rewriter.errors import INTERNAL_ERROR, internal_error, printable

        print(f"nopfix-corpus: {printable(internal_error(error))}", file=sys.stderr)
        return INTERNAL_ERROR
    return status


if __name__ == "__main__":
    sys.exit(main())
