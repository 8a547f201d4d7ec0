"""The command ``nopfix IN OUT``.

Parses arguments, reads, calls `nopfix.rewrite`, writes.  What goes wrong is one line on standard
error; the exit status says which kind of wrong it was.
"""

from __future__ import annotations

import argparse
import os
import stat
import sys

from nopfix import __version__
from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.build import output
from nopfix.rewriter.errors import INTERNAL_ERROR, Refusal, internal_error, printable
from nopfix.rewriter.options import Options
from nopfix.rewriter.references import split_dwarf

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nopfix.rewriter.layout.calls import CallSite
    from nopfix.rewriter.object.program import Program
    from nopfix.rewriter.options import Report, Result

DONE = 0
REFUSED = 1
USAGE = 2
IO_ERROR = 3
INTERRUPTED = 130


_EPILOG = """\
examples:
  nopfix foo.o foo.o                 give every call in foo.o its slot, in place
  nopfix --list foo.o                show each call and what would be done
  nopfix --report r.json in.o out.o  write down every insertion
  nopfix --only helper in.o out.o    only calls of helper()
  nopfix --verify in.o out.o         have nopfix-verify check the result first
  nopfix libfoo.a out.a              each object of a library

exit status: 0 done or nothing to do, 1 refused (the object can't be rewritten safely),
2 usage, 3 input/output error, 70 internal error
"""


def parser() -> argparse.ArgumentParser:
    """The command's options; the man page is made from the same source."""
    result = argparse.ArgumentParser(
        prog="nopfix",
        description="Insert a nop after every call in a ppc64le object that lacks its TOC-restore "
        "slot, and move everything that this moves.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add(
        "input",
        metavar="IN",
        help="relocatable object (64-bit little-endian PowerPC, ELFv2) or archive",
    )
    add("output", metavar="OUT", nargs="?", help="where the result goes; may be IN")
    add("--list", action="store_true", help="print each call site; write nothing")
    add("--explain", action="store_true", help="print what each indirect branch was proved to be")
    add("--report", metavar="FILE", help="write what was done to FILE, as JSON")
    add("--only", metavar="NAME", action="append", help="restrict to calls of NAME (repeatable)")
    add("--only-file", metavar="FILE", help="the same, names one a line in FILE")
    add("--exempt", metavar="NAME", action="append", default=[], help="leave calls of NAME alone")
    add(
        "--dwo",
        metavar="FILE",
        action="append",
        default=[],
        help="split DWARF file of IN, rewritten in place",
    )
    _add_limits(result)
    add("--verify", action="store_true", help="check the result independently before writing it")
    add("-q", "--quiet", action="store_true", help="print nothing but refusals and errors")
    add("-v", "--verbose", action="store_true", help="print each insertion")
    add("--version", action="version", version=_version())
    return result


def _add_limits(result: argparse.ArgumentParser) -> None:
    """The options that say what may be given up, taken for granted, or is not to be touched."""
    add = result.add_argument
    add("--no-realign", action="store_true", help="only shift; let alignments go")
    add(
        "--strip-unknown-debug",
        action="store_true",
        help="empty debug sections that aren't understood instead of refusing",
    )
    add(
        "--leave-unproved",
        action="store_true",
        help="leave code that can't be followed as compiled, without slots, instead of refusing",
    )
    add(
        "--plain-section",
        metavar="NAME",
        action="append",
        default=[],
        help="the PC-relative fields of section NAME are relative to themselves",
    )
    add(
        "--keep-signature",
        action="store_true",
        help="refuse a signed kernel module that changes, rather than drop its signature",
    )
    add(
        "--sibling-calls",
        choices=("ignore", "warn", "error"),
        default="warn",
        help="what to do about tail calls that kpatch would refuse (default: warn)",
    )
    add(
        "--allow",
        action="append",
        choices=("compression-ratio",),
        default=[],
        help="compression-ratio: debug sections that are compressed by more than 8 to 1, which "
        "may take any amount of time and memory",
    )


def _version() -> str:
    """What a report of a fault has to say: nopfix's version, Python's, and the machine's."""
    machine = os.uname()
    python = ".".join(map(str, sys.version_info[:3]))
    return f"nopfix {__version__} (Python {python}, {machine.sysname} {machine.machine})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parsed = parser().parse_args(arguments)
    if parsed.output is None and not (parsed.list or parsed.explain):
        parser().error("OUT is missing")
    try:
        return run(parsed)
    except Exception as error:
        return _complain(f"{parsed.input}: {internal_error(error)}", INTERNAL_ERROR)


def run(parsed: argparse.Namespace) -> int:
    """Do what the arguments ask for; returns the exit status.  Raises what is nopfix's mistake."""
    try:
        return _run(parsed)
    except Refusal as refusal:
        refusal.file = refusal.file or parsed.input
        return _complain(str(refusal), REFUSED)
    except BrokenPipeError:  # whoever read the listing has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return DONE
    except OSError as error:
        name = error.filename or parsed.input
        return _complain(f"{name}: {error.strerror or error}", IO_ERROR)
    except MemoryError:
        return _complain(f"{parsed.input}: out of memory", IO_ERROR)
    except KeyboardInterrupt:
        return INTERRUPTED


def _complain(line: str, status: int) -> int:
    print("nopfix: " + printable(line), file=sys.stderr)
    return status


def _run(parsed: argparse.Namespace) -> int:
    data, mode = read_file(parsed.input)
    if data.startswith(b"!<"):  # an archive's magic number, thin or not
        return _run_archive(parsed, data, mode)
    options = _options(parsed, parsed.input, data)
    if parsed.list or parsed.explain:
        for line in _listing(data, options, parsed):
            print(line)
        sys.stdout.flush()
        return DONE
    from nopfix.rewriter.pipeline import rewrite

    result = rewrite(data, options)
    dropped = _dropped_signature(parsed, data, result)
    if parsed.sibling_calls == "error" or (parsed.sibling_calls == "warn" and not parsed.quiet):
        _report_sibling_calls(parsed, parsed.input, data)
    if parsed.verify:
        _ask_nopfix_verify(data, result)
    lost = output.replace_all(_files(parsed, result, mode))
    if not parsed.quiet:
        for line in (*dropped, *lost, *_left(parsed.input, result)):
            print(printable(f"nopfix: {line}"), file=sys.stderr)
        _summarize(parsed, parsed.output, result.report)
    return DONE


def _run_archive(parsed: argparse.Namespace, data: bytes, mode: int) -> int:
    """The same for a library: what is asked for is done with each member that is an object."""
    from nopfix.rewriter.object import archive
    from nopfix.rewriter.pipeline import rewrite

    if parsed.dwo:
        raise Refusal("--dwo can't say which member it is for", remedy="rewrite the members first")

    def options_of(where: str, contents: bytes) -> Options:
        name = where[len(parsed.input) + 1 : -1]
        return _options(parsed, os.path.join(os.path.dirname(parsed.input), name), contents)

    if parsed.list or parsed.explain:
        listed = archive.read(data)
        for index, where in archive.ours(parsed.input, listed):
            contents = listed[index].data
            for line in _listing(contents, options_of(where, contents), parsed):
                print(printable(where[len(parsed.input) :]) + line)
        return DONE
    results: dict[str, Result] = {}

    def one(where: str, contents: bytes) -> bytes:
        result = results[where] = rewrite(contents, options_of(where, contents))
        if parsed.sibling_calls == "error" or (parsed.sibling_calls == "warn" and not parsed.quiet):
            _report_sibling_calls(parsed, where, contents)
        if parsed.verify:
            _ask_nopfix_verify(contents, result)
        return result.data

    new = archive.rewrite(parsed.input, data, one)
    files = []
    if parsed.report:
        members = [
            {"member": where[len(parsed.input) + 1 : -1], **_report_fields(result.report)}
            for where, result in results.items()
        ]
        sizes = {"old_size": len(data), "new_size": len(new)}
        files.append(_report_file(parsed, {**sizes, "members": members}))
    for result in results.values():
        files += [output.File(n, dwo, os.stat(n).st_mode) for n, dwo in result.dwo.items()]
    lost = output.replace_all([*files, output.File(parsed.output, new, mode)])
    if not parsed.quiet:
        left = [line for where, result in results.items() for line in _left(where, result)]
        for line in (*lost, *left):
            print(printable(f"nopfix: {line}"), file=sys.stderr)
        for where, result in results.items():
            _summarize(parsed, parsed.output + where[len(parsed.input) :], result.report)
    return DONE


def _left(where: str, result: Result) -> list[str]:
    """A line for each part of the object that was left as it is."""
    return [f"{where}: {left.warning()}" for left in result.report.left]


def read_file(path: str) -> tuple[bytes, int]:
    """The bytes of a regular file and its mode.  Raises OSError for anything that isn't one."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "not a regular file", path)
    with open(path, "rb") as file:
        return file.read(), status.st_mode


def _options(parsed: argparse.Namespace, path: str, data: bytes) -> Options:
    """The options for the object ``data``, which lies at ``path``."""
    only = set(parsed.only) if parsed.only is not None else None
    if parsed.only_file is not None:
        with open(parsed.only_file, encoding="utf-8") as file:
            only = (only or set()) | {line.strip() for line in file if line.strip()}
    if parsed.dwo:
        dwo = {name: read_file(name)[0] for name in parsed.dwo}
    else:
        dwo = split_dwarf.beside(path, data, parsed.allow)
    return Options(
        only,
        frozenset(parsed.exempt),
        not parsed.no_realign,
        parsed.strip_unknown_debug,
        frozenset(parsed.plain_section),
        dwo,
        frozenset(parsed.allow),
        parsed.leave_unproved,
    )


def _listing(data: bytes, options: Options, parsed: argparse.Namespace) -> Iterator[str]:
    from nopfix.rewriter import pipeline
    from nopfix.rewriter.layout import plan
    from nopfix.rewriter.object import claims, compressed, elf
    from nopfix.rewriter.object.program import Program

    obj = elf.read(data)
    pipeline.refuse_intermediate_code(obj)
    compressed.check(obj, options.allow)
    program = Program(obj)
    try:
        analysis, sections = pipeline.take_apart(program)
    except Refusal:  # but what isn't needed needn't be understood
        need = plan.Needs(program, options).of
        analysis, sections = pipeline.take_apart(program, need, options.leave_unproved)
    if parsed.list:
        claimed = claims.collect(program, program.code, analysis.base_relative)
        for site in plan.call_sites(program, sections, analysis, claimed, options):
            yield _site_line(program, site)
    if parsed.explain:
        for branch in analysis.branches:
            yield printable(branch.explain())


def _site_line(program: Program, site: CallSite) -> str:
    from nopfix.rewriter.object.claims import who

    place = f"{program.name(site.section)}+{site.place:#x}"
    fields = [place, site.function or "-", site.callee, site.action]
    if site.claimed is not None:
        fields.append(f"the no-op behind it is named by {who(program, site.claimed)}")
    return "\t".join(map(printable, fields))


def _report_sibling_calls(parsed: argparse.Namespace, name: str, data: bytes) -> None:
    from nopfix.rewriter.kpatch import sibling_calls

    lines = sibling_calls.describe(data)
    if lines and parsed.sibling_calls == "error":
        raise Refusal(lines[0], remedy="compile with -fno-optimize-sibling-calls")
    for line in lines:
        print(printable(f"nopfix: {name}: warning: {line}"), file=sys.stderr)


def _dropped_signature(parsed: argparse.Namespace, data: bytes, result: Result) -> list[str]:
    """A line where a module's signature doesn't come over.  Raises `Refusal` where it should."""
    if result.data == data:
        return []
    from nopfix.rewriter.object import appended

    if not appended.is_signed(data):
        return []
    if parsed.keep_signature:
        raise Refusal(
            "a module's signature holds for the bytes that it was made of, and these change",
            remedy="leave --keep-signature out, and sign the new module (scripts/sign-file)",
        )
    return [
        f"{parsed.output}: warning: the module's signature, which no longer holds, is dropped;"
        " sign it again (scripts/sign-file)"
    ]


def _ask_nopfix_verify(data: bytes, result: Result) -> None:
    from nopfix.rewriter.build import second_opinion

    second_opinion.ask(data, result, "--verify")


def _files(parsed: argparse.Namespace, result: Result, mode: int) -> list[output.File]:
    """What is to be written, OUT last: it changes only when all the others are in place."""
    files = []
    if parsed.report:
        files.append(_report_file(parsed, _report_fields(result.report)))
    # A .dwo stays where it is: debuggers look for it where the object says that it was compiled.
    for name, contents in result.dwo.items():
        files.append(output.File(name, contents, os.stat(name).st_mode))
    return [*files, output.File(parsed.output, result.data, mode)]


def _report_file(parsed: argparse.Namespace, fields: Mapping[str, object]) -> output.File:
    import json

    heading = {"version": __version__, "input": parsed.input, "output": parsed.output}
    text = json.dumps({**heading, **fields}, indent=1)
    return output.File(parsed.report, f"{text}\n".encode(), 0o644)


def _report_fields(report: Report) -> dict[str, object]:
    return {
        "old_size": report.old_size,
        "new_size": report.new_size,
        "insertions": [insertion._asdict() for insertion in report.insertions],
        "tables": [table._asdict() for table in report.tables],
        "expanded_branches": [
            {"section": section, "old_offset": offset} for section, offset in report.expanded
        ],
        "sections": [resized._asdict() for resized in report.resized],
        "left": [left._asdict() for left in report.left],
    }


def _summarize(parsed: argparse.Namespace, name: str, report: Report) -> None:
    if parsed.verbose:
        for insertion in report.insertions:
            place = f"{insertion.section}+{insertion.old_offset:#x}"
            fields = (
                f"{place} -> {insertion.new_offset:#x}",
                insertion.function or "-",
                insertion.callee or "-",
            )
            print("\t".join(map(printable, fields)))
        print(printable(f"{name}: {len(report.insertions)} nops inserted"))
