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

from nopfix.corpus import (
    baseline,
    case,
    chroot,
    debian,
    matrix,
    objects,
    pool,
    roots,
    runs,
    sources,
    store,
    toolchain,
)
from nopfix.corpus.runs import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nopfix.corpus.case import Case, Result

#: How often plain progress lines are printed when the output is no terminal, in seconds.
PLAIN_INTERVAL = 30.0
#: What the user can mend: said in one line, exit status 2.
_EXPECTED = (
    sources.NoSources, toolchain.ToolError, UsageError, debian.AptError, chroot.RootError,
    objects.Unreadable,
)  # fmt: skip
#: Modules that aren't everywhere: the extra that brings them, and the package of Debian and Fedora.
_LIBRARIES = {
    "distributed": ("cluster", "python3-distributed"),
    "pygal": ("corpus", "python3-pygal"),
    "rich": ("corpus", "python3-rich"),
}
#: Results are committed to the file at least this often, in seconds.
COMMIT_INTERVAL = 0.5

_EXAMPLES = """examples:
  nopfix-corpus run --corpus gcc.c-torture/execute --cc gcc-12 --flags=-O2 --flags="-O2 -g"
  nopfix-corpus run --corpus all --cc gcc-12 --cc gcc-11 --list code --list debug -j 8
  nopfix-corpus run --corpus csmith:1-500 --cc gcc-12 --list levels --check oracle,qemu,slots
  nopfix-corpus run --corpus all --cc gcc-12 --list code --list debug --thin 2
  nopfix-corpus run --matrix full --thin 1
  nopfix-corpus roots make /srv/roots trixie sid
  nopfix-corpus run --root /srv/roots/sid --cc gcc-16 --matrix full --thin 1
  nopfix-corpus run --corpus debian:libc6-dev@sid
  nopfix-corpus run --resume
  nopfix-corpus report --html report.html
  nopfix-corpus compare yesterday.db today.db
  nopfix-corpus reduce "gcc.c-torture/execute/pr92904.c" --cc gcc-12 --flags="-O2 -g"

exit status: 0 nothing is wrong, 1 something is, 2 usage or a missing tool, 70 internal error
"""


# -- run ------------------------------------------------------------------------------------------


def _resume(options: argparse.Namespace, results: store.Store) -> None:
    """Take the matrix of the last run of the file.  Raises UsageError."""
    if given := [name for name in runs.REMEMBERED if getattr(options, name)]:
        raise UsageError(f"--resume takes --{given[0]} from the run that it goes on with")
    remembered = results.arguments()
    if remembered is None:
        raise UsageError(f"{options.db}: there is no run to resume")
    for name, value in remembered.items():
        setattr(options, name, value)


def _run(options: argparse.Namespace) -> int:
    from nopfix.corpus import report

    _need(["rich"])
    with store.opened(options.db) as results:
        if options.resume:
            _resume(options, results)
        planned = runs.planned(options)
        if not planned.cases:
            raise UsageError("nothing to do: no source, or none of the option lists is for it")
        if options.scheduler:
            _need(["distributed"])
        results.remember({name: getattr(options, name) for name in runs.REMEMBERED})
        results.leave_out({one.tools.label() for one in planned.cases}, planned.left_out)
        for line in planned.remarks:
            print(f"nopfix-corpus: {line}", file=sys.stderr)
        _run_missing(planned.cases, options, results)
        wanted = {case.key(one) for one in planned.cases}
        rows = [result for result in results.results() if result.key in wanted]
    print(report.as_text(rows, planned.left_out))
    uncompiled = runs.uncompiled(rows)
    for line in uncompiled:
        print(f"nopfix-corpus: too little compiles: {line}", file=sys.stderr)
    return 1 if uncompiled or any(baseline.failed(result) for result in rows) else 0


def _run_missing(cases: list[Case], options: argparse.Namespace, results: store.Store) -> None:
    """Run the cases that have no result yet, and store theirs."""
    known = results.keys()
    todo = [one for one in cases if case.key(one) not in known]
    text = f"{len(cases)} cases, {len(cases) - len(todo)} of them known"
    if options.limit:
        todo = todo[: options.limit]
        text += f", {len(todo)} to run now"
    print(text, flush=True)
    if options.scheduler:
        coming = pool.run_on_cluster(todo, options.scheduler)
    else:
        coming = pool.run_local(todo, options.jobs)
    _collect(coming, len(todo), results)


def _need(libraries: Iterable[str]) -> None:
    """Raise UsageError, before anything runs, when one of the libraries is missing."""
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            extra, package = _LIBRARIES[library]
            raise UsageError(
                f"there is no module {library}; pip install 'nopfix[{extra}]', or the system's"
                f" package {package}"
            )


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

    _need(["rich", "pygal"] if options.html else ["rich"])
    with store.opened(options.db) as results:
        rows, left_out = results.results(), results.left_out()
    if options.html:
        options.html.write_text(report.as_html(rows), "utf-8")
    print(report.as_markdown(rows) if options.markdown else report.as_text(rows, left_out))
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
    asked = reduce.Asked(
        options.cc, options.flags, options.check, options.root or "", options.assembler or ""
    )
    chroot.show(asked.root, [sources.cache_folder(), *sources.folders_of(options.case)])
    failing = reduce.find(options.case, asked, known)
    status: int = reduce.reduce(failing, options.output, options.jobs)
    return status


def _make_roots(options: argparse.Namespace) -> int:
    for suite in options.suites or roots.PACKAGES:
        made = roots.make(
            options.directory.resolve() / suite, suite, options.mirror or "", options.package
        )
        print(f"{made}: --root {made}; it has {', '.join(roots.compilers(made))}", flush=True)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command's options; the manual page is made from the same source."""
    result = argparse.ArgumentParser(
        prog="nopfix-corpus",
        description="Run nopfix over corpora of compiler output and see what changed.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = result.add_subparsers(dest="command", required=True)
    _describe_run(commands.add_parser("run", help="compile, rewrite and check a matrix of cases"))
    _describe_report(commands.add_parser("report", help="tables and charts of the results"))
    _describe_compare(commands.add_parser("compare", help="what got better, worse, slower"))
    _describe_reduce(commands.add_parser("reduce", help="shrink a failing source with creduce"))
    _describe_roots(
        commands.add_parser("roots", help="make folders with other releases' compilers")
    )
    return result


def _add_database(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "--db", type=Path, default=Path("nopfix-corpus.db"), metavar="FILE",
        help="the results file (default %(default)s)",
    )  # fmt: skip


def _absolute(text: str) -> str:
    return str(Path(text).resolve())


def _add_tools(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "--root", metavar="DIR", type=_absolute,
        help="the folder of the system in which compiler, binutils and qemu live (as root)",
    )  # fmt: skip
    to.add_argument(
        "--as", dest="assembler", metavar="COMMAND", help="in place of the compiler's assembler"
    )


def _describe_run(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "--corpus", action="append", metavar="NAME|DIR",
        help=f"all ({', '.join(sources.CORPORA)}), one of these, gcc.c-torture, g++.dg, "
        "csmith:FIRST-LAST, kernel:DIR, debian:PACKAGE[@SUITE] or a folder",
    )  # fmt: skip
    run.add_argument(
        "--sources", metavar="DIR|TARBALL|PACKAGE[@SUITE]",
        help=f"the GCC whose testsuite it is (default {sources.DEFAULT})",
    )  # fmt: skip
    run.add_argument(
        "--new-since", metavar="DIR|TARBALL|PACKAGE[@SUITE]",
        help="only the files of the testsuite that these sources don't have",
    )  # fmt: skip
    run.add_argument("--cc", action="append", metavar="CC", help="gcc-12, gcc-11, clang-19 ...")
    _add_tools(run)
    run.add_argument("--flags", action="append", metavar='"..."', help="one list of flags")
    run.add_argument(
        "--list", action="append", choices=sorted(matrix.LISTS), help="flags known by name"
    )
    run.add_argument(
        "--check", metavar="CHECK,...",
        help=f"of {', '.join(case.CHECKS)} (default {runs.CHECKS}; ready-made objects: "
        "verify,slots)",
    )  # fmt: skip
    run.add_argument(
        "--matrix", choices=sorted(matrix.MATRICES),
        help="all corpora, compilers and flags of this name (--corpus, --thin restrict it; --cc "
        "names other compilers)",
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
    _add_database(run)
    run.set_defaults(action=_run)


def _describe_report(report: argparse.ArgumentParser) -> None:
    report.add_argument("--html", type=Path, metavar="FILE", help="write one HTML file too")
    report.add_argument(
        "--markdown", action="store_true", help="print the table by corpus and compiler alone"
    )
    _add_database(report)
    report.set_defaults(action=_report)


def _describe_compare(compare: argparse.ArgumentParser) -> None:
    compare.add_argument("old", type=Path, metavar="OLD")
    compare.add_argument("new", type=Path, metavar="NEW")
    compare.add_argument(
        "--ignore-time", action="store_true", help="exit status 0 for what is only slower"
    )
    compare.set_defaults(action=_compare)


def _describe_reduce(reduce: argparse.ArgumentParser) -> None:
    reduce.add_argument(
        "case", metavar="CASE",
        help="a source, by its name in the results (then as it failed there) or by path",
    )  # fmt: skip
    reduce.add_argument("--cc", metavar="CC", help="compiler (else as it failed, else gcc-12)")
    _add_tools(reduce)
    reduce.add_argument("--flags", metavar='"..."', help="flags (else as it failed, else -O2)")
    reduce.add_argument("--check", metavar="CHECK,...", help="else as it failed, else oracle,slots")
    reduce.add_argument(
        "-o", "--output", type=Path, metavar="FILE",
        help="where to keep the result (default: among the regression tests)",
    )  # fmt: skip
    reduce.add_argument("-j", "--jobs", type=int, default=1)
    _add_database(reduce)
    reduce.set_defaults(action=_reduce)


def _describe_roots(of: argparse.ArgumentParser) -> None:
    commands = of.add_subparsers(dest="roots_command", required=True)
    make = commands.add_parser(
        "make", help="make a root for each release, or bring one up to date",
        description=f"Releases and what goes into their roots: {roots.as_text()}.  Needs to be "
        "root, debootstrap, and 2 GB and some minutes for each.",
    )  # fmt: skip
    make.add_argument("directory", type=Path, metavar="DIR", help="where the roots are made")
    make.add_argument("suites", nargs="*", metavar="SUITE", help="default: all of them")
    make.add_argument("--mirror", metavar="URL", help="default: where this system's apt takes it")
    make.add_argument(
        "--package", action="append", default=[], metavar="NAME", help="put this in as well"
    )
    make.set_defaults(action=_make_roots)


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Returns 0 when nothing is wrong, 1 for failures, 2 for usage and missing tools, 70 for a mistake
    of its own.
    """
    options = parser().parse_args(arguments)
    try:
        status: int = options.action(options)
    except (*_EXPECTED, OSError) as error:
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
