"""`nopfix-verify IN OUT`: the command."""

from __future__ import annotations

import argparse
import gc
import os
import stat
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nopfix.verifier.report import Report

VERIFIED, NOT_VERIFIED, USAGE, IO_ERROR, INTERNAL_ERROR, INTERRUPTED = 0, 1, 2, 3, 70, 130

_EXAMPLES = """\
exit status: 0 verified, 1 not, 2 usage, 3 input/output error, 70 internal error

examples:
  nopfix-verify before.o after.o
  nopfix-verify --slots before.o after.o          every call must have its slot as well
  nopfix-verify --report report.json before.o after.o
  nopfix-verify --module livepatch-fix.ko --vmlinux vmlinux
                                 what the kernel would refuse in a finished live patch
"""


def parser() -> argparse.ArgumentParser:
    """The command's options; the manual page is made from the same source."""
    result = argparse.ArgumentParser(
        prog="nopfix-verify",
        description="Decide whether OUT is IN plus nops after calls, and nothing else.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add("old", metavar="IN", nargs="?", help="the object before nopfix")
    add("new", metavar="OUT", nargs="?", help="the object after nopfix")
    add(
        "--dwo",
        nargs=2,
        metavar=("IN.DWO", "OUT.DWO"),
        help="the object's .dwo (-gsplit-dwarf), before and after: look at it as well",
    )
    add("--module", metavar="PATCH.KO", help="say what the kernel would refuse in a live patch")
    add("--vmlinux", metavar="FILE", help="with --module: the kernel that the patch is for")
    add("--report", metavar="FILE", help="write what was found as JSON")
    add("--slots", action="store_true", help="a call that still lacks its slot is a difference")
    add("--max", type=int, default=10, metavar="N", help="differences to print (default 10)")
    add("-q", "--quiet", action="store_true", help="print nothing")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parser().parse_args(arguments)
    objects = sum(name is not None for name in (options.old, options.new))
    other = options.dwo if options.module else options.vmlinux
    if objects != (0 if options.module else 2) or other:
        parser().error("either IN and OUT, or --module PATCH.KO")
    about = options.module or f"{options.old}, {options.new}"
    # The process ends with its one verification: looking for garbage took a seventh of the time.
    gc.disable()
    try:
        return _run(options)
    except OSError as error:
        return _complain(f"{error.filename}: {error.strerror}", IO_ERROR)
    except MemoryError:
        return _complain(f"{about}: out of memory", IO_ERROR)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if os.environ.get("NOPFIX_DEBUG"):
            sys.excepthook(type(error), error, error.__traceback__)
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return _complain(
            f"{about}: internal error, {what}; please report it"
            " ($NOPFIX_DEBUG=1 shows where it comes from)",
            INTERNAL_ERROR,
        )


def _complain(line: str, status: int) -> int:
    print(f"nopfix-verify: {line}", file=sys.stderr)
    return status


def _run(options: argparse.Namespace) -> int:
    if options.module:
        return _module(options)
    from nopfix.verifier.check import verify
    from nopfix.verifier.elf import Unreadable

    old, new, *split = map(_contents, (options.old, options.new, *(options.dwo or ())))
    try:
        dwo = (split[0], split[1]) if split else None
        report = verify(old, new, need_slots=options.slots, dwo=dwo)
    except Unreadable as error:
        return _complain(f"{options.old}, {options.new}: {error}", NOT_VERIFIED)
    _write_report(options.report, report.as_json())
    if not options.quiet:
        _print(options.new, _lines(report, options.max))
    return VERIFIED if report.verified else NOT_VERIFIED


def _module(options: argparse.Namespace) -> int:
    """Say what the kernel would refuse in a live patch."""
    from nopfix.verifier import loader
    from nopfix.verifier.elf import Unreadable

    module = _contents(options.module)
    kernel = _contents(options.vmlinux) if options.vmlinux else None
    try:
        report = loader.check(module, kernel)
    except Unreadable as error:
        return _complain(f"{options.module}: {error}", NOT_VERIFIED)
    _write_report(options.report, report.as_json())
    if not options.quiet:
        count = len(report.refusals)
        shown = [str(refusal) for refusal in report.refusals[: options.max]]
        more = [f"and {count - options.max} more"] if count > options.max else []
        calls = report.counts.get("call that leaves the module", 0)
        plural = "s" * (count != 1)
        verdict = f"{count} refusal{plural}" if count else "nothing that would be refused"
        verdict += f", {calls} calls that leave the module looked at"
        _print(options.module, [*shown, *more, verdict])
    return VERIFIED if report.loads else NOT_VERIFIED


def _write_report(path: str | None, report: dict[str, Any]) -> None:
    if path:
        import json

        with open(path, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)
            file.write("\n")


def _contents(path: str) -> bytes:
    """The bytes of a regular file.  Raises OSError for anything else: a FIFO would wait."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(0, "not a regular file", path)
    with open(path, "rb") as file:
        return file.read()


def _lines(report: Report, limit: int) -> list[str]:
    """The verdict on a pair, behind at most `limit` differences."""
    if report.verified:
        return [f"verified: {len(report.insertions)} nops inserted, all else accounted for"]
    lines = [str(difference) for difference in report.differences[:limit]]
    more = report.total - len(lines)
    if more > 0:
        lines.append(f"and {more} more")
    return [*lines, f"NOT verified: {report.total} differences"]


def _print(name: str, lines: list[str]) -> None:
    """Print lines about a file; who reads no further has seen enough, and the status says it."""
    try:
        print(*(f"{name}: {line}" for line in lines), sep="\n", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
