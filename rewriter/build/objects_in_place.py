"""Rewrite the objects that a compiler has just made, in place.

The half of the compiler wrapper that runs once the compiler is done: which objects are ours, which
are on the skip list, and what to say of the ones that can't be rewritten.

The rule for what isn't ours: a file that isn't a relocatable 64-bit little-endian PowerPC object of
the ELFv2 ABI stays as it is.  One exception: intermediate code that becomes machine code only at
link time (LLVM bitcode; GCC's the rewriter refuses itself) would end up without slots, so it is
refused rather than passed over.

Source: see `object.magic`.
"""

from __future__ import annotations

import os
import stat
import time

from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter import pipeline
from nopfix.rewriter.build.compiler_arguments import C_SUFFIXES
from nopfix.rewriter.errors import INTERNAL_ERROR, Refusal, complain, internal_error
from nopfix.rewriter.object import elf
from nopfix.rewriter.object.magic import is_bitcode, is_ours
from nopfix.rewriter.options import Options
from nopfix.rewriter.references import split_dwarf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

DONE, REFUSED = 0, 1

REPORT = "NOPFIX_REPORT"
"""The environment variable that names the folder for a report over the build."""


class Outcome(Record):
    """What became of an object: an exit status, and what a report over the build says of it.

    ``verdict`` is one of `build_report.VERDICTS`; ``slots`` is how many nops were put in; ``left``
    has a line for each part that was left as compiled, ``sibling_calls`` one for each.
    """

    status: int
    verdict: str
    slots: int = 0
    left: Sequence[str] = ()
    sibling_calls: Sequence[str] = ()


_LEFT_OUT = Outcome(DONE, "left out")
_REFUSED = Outcome(REFUSED, "refused")

SKIPPED = (
    "arch/powerpc/boot/*",
    "arch/powerpc/kernel/prom_init.o",
    "arch/powerpc/kernel/vdso*/*",
    "arch/powerpc/purgatory/*",
)
"""Parts of the kernel that run outside it or before it, which no livepatch touches."""


def rewrite(
    path: str,
    only_compiled: bool = False,
    environment: Mapping[str, str] = os.environ,
    say: Callable[[str], None] = complain,
) -> int:
    """Give the object ``path`` its slots, atomically; returns an exit status.

    Files that aren't ours or are on the skip list stay as they are, and with ``only_compiled``
    hand-written assembly.  ``environment`` holds the ``NOPFIX_*`` variables that apply.  The status
    is REFUSED when the object needs slots and can't have them, INTERNAL_ERROR after a mistake of
    nopfix's own; then ``say`` has been told why.  With $NOPFIX_REPORT what became of it is added to
    the report there.
    """
    folder = environment.get(REPORT)
    if not folder:
        return _rewrite(path, only_compiled, environment, say).status
    said: list[str] = []

    def say_and_keep(line: str) -> None:
        said.append(line)
        say(line)

    begun = time.process_time()
    outcome = _rewrite(path, only_compiled, environment, say_and_keep)
    message = said[-1] if outcome.status else ""
    _add_to_report(folder, path, outcome, message, time.process_time() - begun, say)
    return outcome.status


def _add_to_report(
    folder: str,
    path: str,
    outcome: Outcome,
    message: str,
    seconds: float,
    say: Callable[[str], None],
) -> None:
    """A report that can't be kept fails no build."""
    from nopfix.rewriter.build import build_report

    try:
        build_report.add(folder, path, outcome, message, seconds)
    except OSError as error:
        say(f"${REPORT}: {error.filename or folder}: {error.strerror or error}")


def _rewrite(
    path: str, only_compiled: bool, environment: Mapping[str, str], say: Callable[[str], None]
) -> Outcome:
    if skips(path, environment.get("NOPFIX_SKIP")):
        return _LEFT_OUT
    try:
        if not _can_be_rewritten(path):
            return _LEFT_OUT
        return _rewrite_object(path, only_compiled, environment, say)
    except Refusal as refusal:
        refusal.file = refusal.file or path
        say(str(refusal))
    except OSError as error:
        say(f"{path}: {error.strerror or error}")
    except MemoryError:
        say(f"{path}: out of memory")
    except Exception as error:
        say(f"{path}: {internal_error(error)}")
        return Outcome(INTERNAL_ERROR, "failed")
    return _REFUSED


def missing(path: str, environment: Mapping[str, str] = os.environ) -> int:
    """Say that a compiler which succeeded hasn't written the object ``path``.

    Whatever it has written instead has no slots.  Returns an exit status: DONE, and nothing is
    said, for an object on the skip list.
    """
    if skips(path, environment.get("NOPFIX_SKIP")):
        return DONE
    refusal = Refusal(
        "the compiler succeeded without writing this object, so what it wrote has no slots",
        file=path,
        remedy="say with -c and -o what it writes, or put the object on $NOPFIX_SKIP",
    )
    complain(str(refusal))
    folder = environment.get(REPORT)
    if folder:
        _add_to_report(folder, path, _REFUSED, str(refusal), 0.0, complain)
    return REFUSED


def _can_be_rewritten(path: str) -> bool:
    """False for devices; raises `Refusal` for what went down a pipe."""
    mode = os.stat(path).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        raise Refusal("an object in a pipe can't be given slots", remedy="name a file with -o")
    return stat.S_ISREG(mode)


def _rewrite_object(
    path: str, only_compiled: bool, environment: Mapping[str, str], say: Callable[[str], None]
) -> Outcome:
    """Rewrite the object ``path``.  Raises `Refusal`, OSError, and what is nopfix's mistake."""
    with open(path, "rb") as file:
        data = file.read()
    if is_bitcode(data):
        raise Refusal(
            "LLVM bitcode, whose code is made by the linker",
            remedy="compile without -flto, or put the file on $NOPFIX_SKIP",
        )
    if not is_ours(data) or (only_compiled and not is_compiled(data)):
        return _LEFT_OUT
    choice = environment.get("NOPFIX_SIBLING_CALLS", "ignore")
    sibling_calls = _sibling_calls(data, choice, bool(environment.get(REPORT)))
    for line in sibling_calls if choice == "warn" else ():
        say(f"{path}: warning: {line}")
    leave = environment.get("NOPFIX_LEAVE_UNPROVED") == "1"
    options = Options(dwo=split_dwarf.beside(path, data), leave_unproved=leave)
    result = pipeline.rewrite(data, options)
    left = [one.warning() for one in result.report.left]
    for line in left:
        say(f"{path}: {line}")
    if result.data == data and not result.dwo:
        return Outcome(DONE, "unchanged", 0, left, sibling_calls)
    if environment.get("NOPFIX_VERIFY") == "1":
        from nopfix.rewriter.build import second_opinion

        second_opinion.ask(data, options, result)
    from nopfix.rewriter.build import output

    changed = [*result.dwo.items(), (path, result.data)]
    files = [output.File(name, new, os.stat(name).st_mode) for name, new in changed]
    output.replace_all(files, durable=False)
    slots = len(result.report.insertions)
    return Outcome(DONE, "rewritten", slots, left, sibling_calls)


def is_compiled(data: bytes) -> bool:
    """Whether the object ``data`` is a compiler's work rather than hand-written assembly.

    Compilers leave their name in .comment.  Where they were told not to, the name of the source
    shows them (the assembler writes none of its own accord), or debug information that isn't the
    assembler's own (DW_AT_producer "GNU AS ...").
    """
    obj = elf.read(data)
    names = {section.name for section in obj.sections}
    if ".comment" in names:
        return True
    symbols = obj.symbols
    for index, info in enumerate(symbols.infos):
        if info & 15 == elf.STT_FILE and symbols.name(index).endswith(tuple(C_SUFFIXES)):
            return True
    return ".debug_info" in names and b"GNU AS " not in data


def _sibling_calls(data: bytes, choice: str, reported: bool) -> Sequence[str]:
    """A line for each sibling call, where somebody wants to know.

    Raises `Refusal` where they are to be errors.
    """
    if choice not in ("warn", "error") and not reported:
        return ()
    from nopfix.rewriter.kpatch import sibling_calls

    lines = sibling_calls.describe(data)
    if lines and choice == "error":
        raise Refusal(lines[0], remedy="compile with -fno-optimize-sibling-calls")
    return lines


def skips(path: str, patterns: str | None) -> bool:
    """Whether the object ``path`` is on the skip list.

    ``patterns`` is the value of $NOPFIX_SKIP: patterns separated by colons, in which ``*`` stands
    for any characters, slashes included, and an empty one for the default list.  None means the
    default list.  A pattern may begin at any folder of the path.
    """
    for pattern in _skip_patterns(patterns):
        start = 0
        while True:
            if _matches(path[start:], pattern):
                return True
            start = path.find("/", start) + 1
            if not start:
                break
    return False


def _skip_patterns(patterns: str | None) -> Iterator[str]:
    for pattern in "" if patterns is None else patterns.split(":"):
        if pattern:
            yield pattern
        else:
            yield from SKIPPED
    if not patterns:
        yield from SKIPPED


def _matches(text: str, pattern: str) -> bool:
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    if not text.startswith(first):
        return False
    text = text[len(first) :]
    for piece in rest[:-1]:
        at = text.find(piece)
        if at < 0:
            return False
        text = text[at + len(piece) :]
    return text.endswith(rest[-1])
