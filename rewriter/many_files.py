"""Several files at once, each in place: ``nopfix --in-place -j N FILE...``.

Each is a matter of its own: one that is refused stays as it was, has its line, and the others go
on, also where what is said of them gets nowhere.  What was done is summed up at the end; the exit
status is the highest of theirs.  With ``-j`` the files are spread over processes, and their lines
still come whole, and in the files' order.
"""

from __future__ import annotations

import io
import sys

from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter import one_file
from nopfix.rewriter.build import start
from nopfix.rewriter.errors import INTERNAL_ERROR, internal_error, say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

_BAR = 30
_CLEAR = "\r\x1b[K"


class Done(Record):
    """What became of one file, and what was said of it on standard output and error."""

    outcome: one_file.Outcome
    said: str
    complained: str


def run(parsed: argparse.Namespace) -> int:
    """Rewrite each of ``parsed.files``; returns the exit status."""
    tasks = [_for_one(parsed, path) for path in parsed.files]
    found = _in_processes(tasks, parsed.jobs) if parsed.jobs > 1 else map(_one, tasks)
    if not parsed.quiet and sys.stderr.isatty():
        found = _with_bar(found, len(tasks))
    outcomes = []
    worst = one_file.DONE
    for done in found:
        outcomes.append(done.outcome)
        worst = max(worst, done.outcome.status, _pass_on(done.said))
        say(done.complained)
        if done.outcome.status == one_file.INTERRUPTED:
            return one_file.INTERRUPTED
    if not parsed.quiet:
        say(f"{_summary(outcomes, len(tasks))}\n")
    return worst


def _pass_on(said: str) -> int:
    """Print what was ``said`` of a file; an exit status, as `one_file.run` has it."""
    try:
        one_file.print_out(said)
    except OSError as error:
        one_file.forget_output()
        if not isinstance(error, BrokenPipeError):
            line = f"{error.filename}: {error.strerror}"
            return one_file.complain(line, one_file.IO_ERROR)
    return one_file.DONE


def _for_one(parsed: argparse.Namespace, path: str) -> argparse.Namespace:
    import argparse

    return argparse.Namespace(**{**vars(parsed), "input": path, "output": path})


def _one(task: argparse.Namespace) -> Done:
    """Rewrite one file, and keep what is said meanwhile."""
    said, complained = io.StringIO(), io.StringIO()
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = said, complained
    try:
        outcome = one_file.run(task)
    except Exception as error:
        line = f"{task.input}: {internal_error(error)}"
        outcome = one_file.Outcome(one_file.complain(line, INTERNAL_ERROR))
    finally:
        sys.stdout, sys.stderr = streams
    return Done(outcome, said.getvalue(), complained.getvalue())


def _in_processes(tasks: list[argparse.Namespace], jobs: int) -> Iterator[Done]:
    """The same in ``jobs`` processes.  One that dies (of memory, say) is an internal error."""
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    try:
        made = ProcessPoolExecutor(min(jobs, len(tasks)), initializer=start.prepare)
    except (OSError, ImportError):  # no semaphores, as in a root without /dev/shm
        yield from map(_one, tasks)
        return
    with made as pool:
        count = 0
        try:
            for done in pool.map(_one, tasks, chunksize=max(1, min(16, len(tasks) // (4 * jobs)))):
                yield done
                count += 1
        except BrokenProcessPool:
            line = "a process died at this file or a later one; try again with -j 1"
            yield Done(
                one_file.Outcome(INTERNAL_ERROR), "", f"nopfix: {tasks[count].input}: {line}\n"
            )
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _with_bar(found: Iterable[Done], total: int) -> Iterator[Done]:
    """Pass on what is ``found``, with a line on the terminal that says how far it is."""
    for count, done in enumerate(found, 1):
        say(_CLEAR)
        yield done
        filled = _BAR * count // total
        say(f"{_CLEAR}[{'#' * filled}{'.' * (_BAR - filled)}] {count}/{total}")
    say(_CLEAR)


def _summary(outcomes: list[one_file.Outcome], total: int) -> str:
    changed = sum(outcome.changed for outcome in outcomes)
    refused = sum(outcome.status == one_file.REFUSED for outcome in outcomes)
    failed = sum(outcome.status > one_file.REFUSED for outcome in outcomes)
    text = f"nopfix: {total} files: {changed} rewritten"
    if unchanged := len(outcomes) - changed - refused - failed:
        text += f", {unchanged} needed nothing"
    if refused:
        text += f", {refused} refused"
    if failed:
        text += f", {failed} failed"
    if total > len(outcomes):
        text += f", {total - len(outcomes)} not reached"
    return text
