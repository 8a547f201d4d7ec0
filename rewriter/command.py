"""The command ``nopfix``: its options, and what goes wrong as one line and an exit status.

What is done with a file is in `one_file`, with several in `many_files`.
"""

from __future__ import annotations

import argparse
import os
import sys

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter import one_file

if TYPE_CHECKING:
    from collections.abc import Sequence

_USAGE = """nopfix [OPTION]... IN OUT
       nopfix [OPTION]... --in-place [-j N] FILE...
       nopfix [OPTION]... --list|--explain|--html FILE|--bundle FILE IN"""

_EPILOG = """\
examples:
  nopfix foo.o foo.o                 give every call in foo.o its slot, in place
  nopfix --list foo.o                show each call and what would be done
  nopfix --html page.html foo.o      the same to look at, before and after
  nopfix --bundle fault.tar.xz foo.o what a report of a fault needs
  nopfix --report r.json in.o out.o  write down every insertion
  nopfix --only helper in.o out.o    only calls of helper()
  nopfix --verify in.o out.o         have nopfix-verify check the result first
  nopfix libfoo.a out.a              each object of a library
  nopfix foo.ko.xz foo.ko.xz         opened and closed again; .zst and .gz as well
  nopfix -j4 --in-place *.o          many files; what is refused stays as it was
  nopfix - - <foo.o >out.o           standard input and output

exit status: 0 done or nothing to do, 1 refused (the object can't be rewritten safely),
2 usage, 3 input/output error, 70 internal error; of many files the highest of theirs
"""


def parser() -> argparse.ArgumentParser:
    """The command's options; the man page is made from the same source."""
    result = argparse.ArgumentParser(
        prog="nopfix",
        usage=_USAGE,
        description="Insert a nop after every call in a ppc64le object that lacks its TOC-restore "
        "slot, and move everything that this moves.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add(
        "files",
        metavar="IN OUT",
        nargs="+",
        help="relocatable object (64-bit little-endian PowerPC, ELFv2), kernel module or archive, "
        "also compressed by xz, zstd or gzip, and where the result goes, which may be IN; - for "
        "standard input and output",
    )
    add("--in-place", action="store_true", help="rewrite each file that is named, where it is")
    add("-j", "--jobs", type=_positive, default=1, metavar="N", help="processes for --in-place")
    add("--list", action="store_true", help="print each call site; write nothing")
    add("--explain", action="store_true", help="print what each indirect branch was proved to be")
    add("--html", metavar="FILE", help="show IN before and after on a page; write nothing else")
    add("--bundle", metavar="FILE", help="write IN, what nopfix says and the versions to a .tar.xz")
    add("--json", action="store_true", help="--list and --explain as JSON")
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
    add("--version", action="version", version=one_file.version())
    return result


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


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


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments, and ``input`` and ``output`` of one file.  Exits where they make no sense."""
    options = parser()
    parsed = options.parse_args(arguments)
    files = parsed.files
    looking = parsed.list or parsed.explain or parsed.html or parsed.bundle
    if parsed.json and not (parsed.list or parsed.explain):
        options.error("--json is for --list and --explain; --report FILE writes JSON")
    if parsed.in_place:
        if looking:
            options.error(
                "--list, --explain, --html and --bundle rewrite nothing, so not --in-place"
            )
        for name in ("report", "dwo"):
            if len(files) > 1 and getattr(parsed, name):
                options.error(f"--{name} is for one file, and here are {len(files)}")
        if "-" in files:
            options.error("standard input can't be rewritten --in-place")
        files = files[:1] * 2
    elif len(files) > 2:
        options.error("IN and OUT, or --in-place FILE...")
    elif len(files) < 2 and not looking:
        options.error("OUT is missing")
    parsed.input, parsed.output = files[0], files[-1]
    if twice := _written_twice(parsed):
        options.error(f"{twice} would be written over what else is named here")
    if not looking and parsed.output == "-" and sys.stdout.isatty():
        options.error("an object isn't written to a terminal: > FILE")
    return parsed


def _written_twice(parsed: argparse.Namespace) -> str:
    """The option that names a file which holds something else, "" where none does."""
    taken = [*parsed.files, *parsed.dwo]
    for name in ("report", "html", "bundle"):
        path = getattr(parsed, name)
        if path is None:
            continue
        if path == one_file.STANDARD:
            # For IN it is another stream.
            if parsed.output == path and not (parsed.html or parsed.bundle):
                return f"--{name} {path}"
        elif any(_is_one_file(path, other) for other in taken):
            return f"--{name} {path}"
        taken.append(path)
    return ""


def _is_one_file(path: str, other: str) -> bool:
    if other == one_file.STANDARD:
        return False
    is_device = os.path.exists(path) and not os.path.isfile(path)
    return not is_device and os.path.realpath(path) == os.path.realpath(other)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parsed = parse(arguments)
    if len(parsed.files) > 1 and parsed.in_place:
        from nopfix.rewriter import many_files

        return one_file.guarded(parsed, many_files.run)
    return one_file.guarded(parsed)
