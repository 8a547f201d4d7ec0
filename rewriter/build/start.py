"""How a process starts, and ends, that rewrites one object and lives 30 ms.

The problem: such processes start for every object of a kernel, so what an interpreter loads and
does for the sake of long-lived ones takes a good part of their time.

The rule: `typing` isn't imported (`dwarf.record`), nor is `os` where `posix` does.  `array` asks
for `collections.abc` to say that arrays are mutable sequences, and would load all of `collections`
for it.  Where `os` is loaded, the interpreter's own `_collections_abc` stands in for that while
`array` is loaded.  Where it isn't, nobody in this process asks what a mutable sequence is, and what
stands in takes no notice: `_collections_abc` makes 25 classes, which takes longer than all that is
loaded for an object that needs nothing.  The search for reference cycles is turned off: a rewrite
makes none worth collecting.  At the end the system takes everything back at once; the interpreter
would take it down piece by piece, for a fifth of what its start and its end take together.

A caller may have closed standard streams.  Then their numbers are given to the next files that are
opened, and the interpreter has None where a stream would be; so something stands in for each that
can't be read or written (gnulib, stdopen.c, does so for GNU's tools).
"""

from __future__ import annotations

import gc
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


class _Unasked:
    """What `array` asks of `collections.abc`, for a process in which nobody else does."""

    @classmethod
    def register(cls, kind: type) -> type:
        """As a decorator of classes that leaves them as they are."""
        return kind


class _Abc:
    """In the place of `collections.abc`."""

    MutableSequence = _Unasked


def prepare() -> None:
    """Do what makes the imports that follow cheap; whatever is loaded already stays as it is."""
    gc.disable()
    if "collections" not in sys.modules:
        names = "collections", "collections.abc"
        stand_in = sys.modules.get("_collections_abc", _Abc)
        sys.modules.update(dict.fromkeys(names, stand_in))  # type: ignore[arg-type]
        import array  # noqa: F401

        for name in names:
            del sys.modules[name]


def open_streams() -> None:
    """Let something stand for each standard stream that the caller has closed.

    Whoever uses it is told that it is closed; what is said on standard error, nobody hears.
    """
    if sys.stdin is not None and sys.stdout is not None and sys.stderr is not None:
        return
    for number, flags in enumerate((posix.O_WRONLY, posix.O_RDONLY, posix.O_WRONLY)):
        try:
            posix.fstat(number)
        except OSError:  # the lowest number that is free is what open() takes
            posix.open("/dev/null", flags | posix.O_CLOEXEC)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115


def end(status: int) -> NoReturn:
    """End this process with exit status ``status``, or 3 where what was printed gets nowhere.

    Nobody is told of that who has stopped reading.
    """
    from nopfix.rewriter.errors import complain, say

    try:
        if sys.stdout is not None:  # closed by the caller
            sys.stdout.flush()
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            posix._exit(status)
        complain(f"standard output: {error.strerror}")
        status = status or 3
    say("")
    posix._exit(status)
