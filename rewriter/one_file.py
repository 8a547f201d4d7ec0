"""One file: read, opened, given to the rewriter, closed again, put in place.

A file is an object or an archive of some, either of them perhaps compressed as a whole.  What goes
wrong is one line on standard error; the exit status says which kind of wrong it was.

The plain forms of the command end here without `os`, whose import takes a quarter of the
interpreter's own start; what needs it imports it where it is used.
"""

from __future__ import annotations

import posix
import sys
from _stat import S_ISFIFO, S_ISREG

from nopfix import __version__
from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter import errors
from nopfix.rewriter.build import output
from nopfix.rewriter.errors import INTERNAL_ERROR, Refusal, internal_error, printable
from nopfix.rewriter.object import magic
from nopfix.rewriter.options import Options

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping

    from nopfix.rewriter.options import Report, Result
    from nopfix.rewriter.show import listing

DONE = 0
REFUSED = 1
USAGE = 2
IO_ERROR = 3
INTERRUPTED = 130

STANDARD = "-"
"""What standard input and output are called in the place of a file."""
STANDARD_OUTPUT = "standard output"
"""What a message calls it."""
_DESCRIPTORS = ("/dev/fd/", "/proc/self/fd/", "/dev/stdin")


class Outcome(Record):
    """The exit status, and whether OUT is something else than IN."""

    status: int
    changed: bool = False


class Opened(Record):
    """A file's bytes, its mode, and its contents: others where it is compressed as ``packing``."""

    file: bytes
    mode: int
    contents: bytes
    packing: str | None


def guarded(
    parsed: argparse.Namespace, work: Callable[[argparse.Namespace], int] | None = None
) -> int:
    """The exit status of ``work``, which is `run` unless said: of a mistake of nopfix's, too."""
    try:
        return work(parsed) if work is not None else run(parsed).status
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        return complain(f"{parsed.input}: {internal_error(error)}", INTERNAL_ERROR)


def run(parsed: argparse.Namespace) -> Outcome:
    """Do with ``parsed.input`` what the arguments ask for.  Raises what is nopfix's mistake."""
    try:
        return Outcome(DONE, _run(parsed))
    except Refusal as refusal:
        refusal.file = refusal.file or _name(parsed.input)
        status = complain(str(refusal), REFUSED)
    except OSError as error:
        if error.filename == STANDARD_OUTPUT:
            forget_output()
            if isinstance(error, BrokenPipeError) and parsed.output != STANDARD:
                return Outcome(DONE)  # whoever read the listing has seen enough
        name = _name(parsed.input) if error.filename is None else error.filename or "''"
        status = complain(f"{name}: {error.strerror or error}", IO_ERROR)
    except MemoryError:
        status = complain(f"{_name(parsed.input)}: out of memory", IO_ERROR)
    except KeyboardInterrupt:
        status = INTERRUPTED
    return Outcome(status)


def complain(line: str, status: int) -> int:
    """Print nopfix's one line; returns the status."""
    errors.complain(line)
    return status


def print_out(text: str | bytes) -> None:
    """Write ``text`` to standard output, now.  An OSError names standard output."""
    try:
        if isinstance(text, bytes):
            sys.stdout.buffer.write(text)
        else:
            sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        error.filename = STANDARD_OUTPUT
        raise


def forget_output() -> None:
    """Let what is still to be written to standard output, which can't be written to, go."""
    posix.dup2(posix.open("/dev/null", posix.O_WRONLY), 1)


def version() -> str:
    """What a report of a fault has to say: nopfix's version, Python's, and the machine's."""
    machine = posix.uname()
    python = ".".join(map(str, sys.version_info[:3]))
    return f"nopfix {__version__} (Python {python}, {machine.sysname} {machine.machine})"


def _name(path: str) -> str:
    return "standard input" if path == STANDARD else path


def _run(parsed: argparse.Namespace) -> bool:
    """Returns whether OUT is something else than IN."""
    opened = _open(parsed)
    if parsed.bundle:
        _bundle(parsed, opened)
    if parsed.html:
        _show(parsed, opened)
    if parsed.list or parsed.explain:
        _look(parsed, opened)
    if parsed.bundle or parsed.html or parsed.list or parsed.explain:
        return False
    if _is_archive(opened):
        return _rewrite_archive(parsed, opened)
    from nopfix.rewriter.pipeline import rewrite

    data = opened.contents
    options = _options(parsed, parsed.input, data)
    result = rewrite(data, options)
    dropped = _dropped_signature(parsed, data, result)
    _check(parsed, _name(parsed.input), data, options, result)
    files = _dwo_files(result)
    if parsed.report:
        files.insert(0, _report_file(parsed, _report_fields(result.report)))
    lost = _write(parsed, opened, result.data, files)
    if not parsed.quiet:
        for line in (*dropped, *lost, *_left(_name(parsed.input), result)):
            errors.complain(line)
        _summarize(parsed, parsed.output, result.report)
    return result.data != data


def _show(parsed: argparse.Namespace, opened: Opened) -> None:
    """Write the page; nothing else is written."""
    from nopfix.rewriter.show import compared, disassembly, page

    data, options = _only_object(parsed, opened)
    found = compared.compare(data, options, disassembly.disassembler())
    text = page.page(_name(parsed.input), found).encode()
    _put(parsed.html, text)


def _bundle(parsed: argparse.Namespace, opened: Opened) -> None:
    """Write the archive for a report of a fault."""
    from nopfix.rewriter.show import bundle

    data, options = _only_object(parsed, opened)
    chosen = {name: str(value) for name, value in vars(parsed).items() if value}
    for path in ("files", "input", "output", "bundle"):
        chosen.pop(path, None)
    heading = {"version": version(), **chosen}
    _put(parsed.bundle, bundle.make(_name(parsed.input), data, options, heading))


def _only_object(parsed: argparse.Namespace, opened: Opened) -> tuple[bytes, Options]:
    if _is_archive(opened):
        raise Refusal(
            "one object is wanted here, and this is an archive", remedy="take it out: ar x"
        )
    return opened.contents, _options(parsed, parsed.input, opened.contents)


def _put(path: str, data: bytes) -> None:
    if path == STANDARD:
        print_out(data)
    else:
        output.replace(path, data, 0o644)


def _look(parsed: argparse.Namespace, opened: Opened) -> None:
    """Print the listing; nothing is written."""
    from nopfix.rewriter.show import listing, written

    if _is_archive(opened):
        from nopfix.rewriter.object import archive

        members = archive.read(opened.contents)
        parts = [
            (where[len(_name(parsed.input)) :], members[index].data)
            for index, where in archive.ours(_name(parsed.input), members)
        ]
    else:
        parts = [("", opened.contents)]
    found = []
    for where, data in parts:
        options = _options(parsed, _beside(parsed, where), data)
        made = listing.make(data, options, calls=parsed.list, branches=parsed.explain)
        if parsed.json:
            found.append((where, made))
            continue
        print_out("".join(f"{printable(where)}{line}\n" for line in _lines(made)))
    if parsed.json:
        each = [{"member": where[1:-1], **listing.fields(made)} for where, made in found]
        fields: dict[str, object] = {"members": each}
        if not _is_archive(opened):
            fields = listing.fields(found[0][1])
        print_out(written.text((parsed.input, None), fields))


def _lines(made: listing.Listing) -> Iterator[str]:
    from nopfix.rewriter.show import listing

    if sys.stdout.isatty():
        import os

        return listing.on_terminal(made, colour=listing.colours(os.environ))
    return listing.lines(made)


def _is_archive(opened: Opened) -> bool:
    return opened.contents.startswith(b"!<")  # an archive's magic number, thin or not


def _beside(parsed: argparse.Namespace, where: str) -> str:
    """The path that a member of the archive IN would have beside it; IN's own without ``where``."""
    path: str = parsed.input
    if not where:
        return path
    import os

    return os.path.join(os.path.dirname(path), where[1:-1])


def _open(parsed: argparse.Namespace) -> Opened:
    """Read IN, and expand it where it is compressed as a whole."""
    if parsed.input == STANDARD:
        data, mode = sys.stdin.buffer.read(), 0o644
    else:
        data, mode = read_file(parsed.input)
    how = magic.packing(data)
    if how is None:
        return Opened(data, mode, data, how)
    from nopfix.rewriter.object import packed

    return Opened(data, mode, packed.unpack(data, parsed.allow), how)


def _close(path: str, opened: Opened, new: bytes) -> bytes:
    """The bytes of the file ``path``, whose contents are ``new``."""
    how = opened.packing
    if how is not None or path.endswith(magic.PACKED_ENDINGS):
        from nopfix.rewriter.object import packed

        how = packed.wanted(path, how)
        if how != opened.packing or new != opened.contents:
            return packed.pack(new, how)
    return opened.file if new == opened.contents else new


def _write(
    parsed: argparse.Namespace, opened: Opened, new: bytes, others: list[output.File]
) -> list[str]:
    """Write OUT, with the contents ``new``, last: it changes only when the others are in place.

    Returns what couldn't be kept.
    """
    for file in others:
        if file.path == STANDARD:  # the report
            print_out(file.data)
    others = [file for file in others if file.path != STANDARD]
    if parsed.in_place and new == opened.contents:
        return output.replace_all(others)
    data = _close(parsed.output, opened, new)
    if parsed.output != STANDARD:
        return output.replace_all([*others, output.File(parsed.output, data, opened.mode)])
    lost = output.replace_all(others)
    print_out(data)
    return lost


def _dwo_files(result: Result) -> list[output.File]:
    # A .dwo stays where it is: debuggers look for it where the object says that it was compiled.
    return [output.File(name, data, posix.stat(name).st_mode) for name, data in result.dwo.items()]


def _rewrite_archive(parsed: argparse.Namespace, opened: Opened) -> bool:
    """The same for a library: each member that is an object is rewritten."""
    from nopfix.rewriter.object import archive
    from nopfix.rewriter.pipeline import rewrite

    path = _name(parsed.input)
    if parsed.dwo:
        raise Refusal("--dwo can't say which member it is for", remedy="rewrite the members first")
    results: dict[str, Result] = {}

    def one(where: str, contents: bytes) -> bytes:
        options = _options(parsed, _beside(parsed, where[len(path) :]), contents)
        result = results[where] = rewrite(contents, options)
        _check(parsed, where, contents, options, result)
        return result.data

    new = archive.rewrite(path, opened.contents, one)
    files = [file for result in results.values() for file in _dwo_files(result)]
    if parsed.report:
        members = [
            {"member": where[len(path) + 1 : -1], **_report_fields(result.report)}
            for where, result in results.items()
        ]
        sizes = {"old_size": len(opened.contents), "new_size": len(new)}
        files.insert(0, _report_file(parsed, {**sizes, "members": members}))
    lost = _write(parsed, opened, new, files)
    if not parsed.quiet:
        left = [line for where, result in results.items() for line in _left(where, result)]
        for line in (*lost, *left):
            errors.complain(line)
        for where, result in results.items():
            _summarize(parsed, parsed.output + where[len(path) :], result.report)
    return new != opened.contents


def _check(
    parsed: argparse.Namespace, name: str, data: bytes, options: Options, result: Result
) -> None:
    """What was asked for besides the rewrite: sibling calls named, a second opinion."""
    if parsed.sibling_calls == "error" or (parsed.sibling_calls == "warn" and not parsed.quiet):
        _report_sibling_calls(parsed, name, data)
    if parsed.verify:
        from nopfix.rewriter.build import second_opinion

        second_opinion.ask(data, options, result)


def _left(where: str, result: Result) -> list[str]:
    """A line for each part of the object that was left as it is."""
    return [f"{where}: {left.warning()}" for left in result.report.left]


def read_file(path: str) -> tuple[bytes, int]:
    """The bytes of a regular file and its mode.  Raises OSError for anything that isn't one.

    A pipe that the caller holds open for this process (a shell's ``<(...)``) is read as well.
    """
    mode = posix.stat(path).st_mode
    if not S_ISREG(mode):
        if not (S_ISFIFO(mode) and path.startswith(_DESCRIPTORS)):
            raise OSError(0, "not a regular file", path)
        mode = 0o644
    with open(path, "rb") as file:
        return file.read(), mode


def _options(parsed: argparse.Namespace, path: str, data: bytes) -> Options:
    """The options for the object ``data``, which lies at ``path``."""
    only = set(parsed.only) if parsed.only is not None else None
    if parsed.only_file is not None:
        with open(parsed.only_file, encoding="utf-8") as file:
            only = (only or set()) | {line.strip() for line in file if line.strip()}
    dwo = {name: read_file(name)[0] for name in parsed.dwo}
    if not dwo and b".dwo" in data:  # most name none, and nothing is loaded for those
        from nopfix.rewriter.references import split_dwarf

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


def _report_sibling_calls(parsed: argparse.Namespace, name: str, data: bytes) -> None:
    from nopfix.rewriter.kpatch import sibling_calls

    lines = sibling_calls.describe(data)
    if lines and parsed.sibling_calls == "error":
        raise Refusal(lines[0], remedy="compile with -fno-optimize-sibling-calls")
    for line in lines:
        errors.complain(f"{name}: warning: {line}")


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


def _report_fields(report: Report) -> dict[str, object]:
    from nopfix.rewriter.show import written

    return written.report(report)


def _report_file(parsed: argparse.Namespace, fields: Mapping[str, object]) -> output.File:
    from nopfix.rewriter.show import written

    text = written.text((parsed.input, parsed.output), fields)
    return output.File(parsed.report, text.encode(), 0o644)


def _summarize(parsed: argparse.Namespace, name: str, report: Report) -> None:
    if not parsed.verbose:
        return
    lines = []
    for insertion in report.insertions:
        place = f"{insertion.section}+{insertion.old_offset:#x}"
        fields = (
            f"{place} -> {insertion.new_offset:#x}",
            insertion.function or "-",
            insertion.callee or "-",
        )
        lines.append("\t".join(map(printable, fields)))
    lines.append(printable(f"{name}: {len(report.insertions)} nops inserted"))
    text = "".join(f"{line}\n" for line in lines)
    if parsed.output == STANDARD:
        errors.say(text)
    else:
        print_out(text)
