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
"""

from __future__ import annotations

import gc
import posix
import sys


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


def end(status: int) -> int:
    """End this process with exit status ``status``.

    Returns ``status`` where what was printed can't be written: that is the interpreter's to say.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:  # closed by the caller
                stream.flush()
        except OSError:
            return status
    posix._exit(status)
