"""Run the command on one input and say what was wrong with how that ended.

The rule that every input is held to: exit status 0, or 1 or 3 with exactly one printable line on
standard error; no exception; 10 seconds; 20 times the input's size in memory, besides what the
interpreter has anyway; and unless the status is 0, OUT and everything beside it as they were.

The command runs in this process (its start would take longer than the work), with streams as
strict about encodings as the real ones.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import traceback
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nopfix.rewriter import command, one_file

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 10
MEMORY_RATIO = 20
#: What a run may take besides: allocator granularity, compiled patterns, modules imported late.
MEMORY_SLACK = 4 << 20

SEEDS = Path(__file__).parent / "seeds"

_OPTIONS = (
    (),
    (),
    (),
    ("--list",),
    ("--explain",),
    ("--no-realign",),
    ("--strip-unknown-debug",),
    ("--sibling-calls=error", "--verbose"),
)
_BEFORE = b"what was there before"


class Finding(NamedTuple):
    """What was wrong: a word for the kind, a place to tell findings apart, and the details."""

    kind: str
    place: str
    detail: str


class Outcome(NamedTuple):
    """How a run ended: exit status (None after an exception), what it wrote, what was wrong."""

    status: int | None
    errors: str
    finding: Finding | None


class TooLong(BaseException):
    """The time is up.  No Exception, so that no handler takes it for something else."""


def options_for(data: bytes) -> tuple[str, ...]:
    """The options that an input is run with: always the same ones for the same bytes."""
    return _OPTIONS[zlib.crc32(data) % len(_OPTIONS)]


def run(data: bytes, folder: Path, options: tuple[str, ...] | None = None) -> Outcome:
    """Run ``nopfix IN OUT`` on ``data`` in the empty ``folder``, which is empty again afterwards.

    Bytes that look like a split DWARF file are given with --dwo, IN being the skeleton among the
    seeds.  Without ``options``, those of `options_for`.
    """
    arguments = list(options_for(data) if options is None else options)
    source, out, split = folder / "in.o", folder / "out.o", folder / "split.dwo"
    out.write_bytes(_BEFORE)
    if b".debug_info.dwo\0" in data and b".symtab" not in data:
        split.write_bytes(data)
        source.write_bytes((SEEDS / "split.o").read_bytes())
        arguments += ["--dwo", str(split)]
        kept = {"split.dwo": data}
    else:
        source.write_bytes(data)
        kept = {}
    kept |= {"in.o": source.read_bytes(), "out.o": _BEFORE}
    try:
        # Split DWARF belongs to one object: only IN itself can be rewritten beside it.
        target = source if "--dwo" in arguments else out
        outcome = _command([*arguments, str(source), str(target)], len(data))
        if outcome.finding is None and outcome.status != 0:
            changed = _changed(folder, kept)
            if changed:
                finding = Finding("output", changed, f"{changed} is not as it was")
                outcome = outcome._replace(finding=finding)
        return outcome
    finally:
        for path in folder.iterdir():
            path.unlink()


def _changed(folder: Path, kept: dict[str, bytes]) -> str:
    """The first name in ``folder`` that isn't as in ``kept``, "" when all are."""
    names = set(os.listdir(folder))
    for name in sorted(names | set(kept)):
        if name not in names or (folder / name).read_bytes() != kept.get(name):
            return name
    return ""


def _command(arguments: list[str], size: int) -> Outcome:
    errors = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", write_through=True)
    listing = io.TextIOWrapper(io.BytesIO(), "utf-8", "strict", write_through=True)
    finding = None
    status = None
    before = _start_of_peak()
    try:
        with (
            _time_limit(),
            contextlib.redirect_stdout(listing),
            contextlib.redirect_stderr(errors),
        ):
            status = one_file.run(command.parse(arguments)).status
    except TooLong as error:
        finding = Finding("time", _place(error), f"no end after {SECONDS} s\n{_trace(error)}")
    except Exception as error:
        finding = Finding(type(error).__name__, _place(error), _trace(error))
    except SystemExit as error:
        finding = Finding("usage", "", f"exit status {error.code}")
    used = _peak() - before
    errors.seek(0)
    text = errors.read()
    if finding is None:
        finding = _complaint(status, text, arguments[-2])
    limit = MEMORY_RATIO * size + MEMORY_SLACK
    if finding is None and used > limit:
        detail = f"{used} bytes for an input of {size}, limit {limit}; status {status}: {text}"
        finding = Finding("memory", text.split(":", 3)[-1].strip()[:40] or str(status), detail)
    return Outcome(status, text, finding)


def _complaint(status: int | None, text: str, source: str) -> Finding | None:
    """What is wrong with the exit status and with what was said."""
    lines = [line for line in text.splitlines() if not line.startswith(f"nopfix: {source}: warn")]
    if status not in (0, 1, 3):
        return Finding("status", str(status), text)
    if status == 0:
        return Finding("chatter", "", text) if lines else None
    if "out of memory" in text:
        return Finding("memory", "MemoryError", text)
    if len(lines) != 1 or not lines[0].startswith("nopfix: ") or not lines[0].isprintable():
        return Finding("lines", str(len(lines)), text)
    return None


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)[-12:])


def _place(error: BaseException) -> str:
    """The innermost line of ours that the exception went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "rewriter" in f.filename or "dwarf" in f.filename]
    if not ours:
        return ""
    return f"{Path(ours[-1].filename).parent.name}/{Path(ours[-1].filename).name}:{ours[-1].name}"


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    """Raise TooLong in the block after `SECONDS` of processor time (the machine may be busy)."""

    def stop(signum: int, frame: object) -> None:
        raise TooLong

    previous = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)


def _start_of_peak() -> int:
    """Forget the peak of resident memory so far; the bytes resident now.

    Linux only (proc(5), clear_refs); elsewhere memory isn't judged.
    """
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return sys.maxsize
    return _status("VmRSS:")


def _peak() -> int:
    try:
        return _status("VmHWM:")
    except OSError:
        return 0


def _status(key: str) -> int:
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(key):
                return int(line.split()[1]) << 10
    return 0
