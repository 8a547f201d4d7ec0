"""What can go wrong, as the user sees it.

A refusal is not a failure of the program: the object is fine, or broken, in a way that keeps nopfix
from proving that its output would be right, and it says so in one line.  An internal error is one:
it is a line as well, but has an exit status of its own, so that nobody takes it for a judgement of
the object.

Source: BSD's sysexits(3) for the number.
"""

from __future__ import annotations

import sys

INTERNAL_ERROR = 70
"""Exit status of every command after a mistake of its own (EX_SOFTWARE)."""


class Refusal(Exception):
    """The object can't be rewritten safely.

    ``section`` and ``offset`` (bytes into that section) say where, ``function`` in which function,
    each None where unknown or meaningless; ``found`` says what was seen, ``remedy`` what the user
    can do.  ``file`` is filled in by whoever knows the file's name.
    """

    def __init__(
        self,
        found: str,
        *,
        section: str | None = None,
        offset: int | None = None,
        function: str | None = None,
        remedy: str = "",
        file: str | None = None,
    ) -> None:
        """Keep the place in fields; `str` gives the line for the user."""
        super().__init__(found)
        self.found = found
        self.section = section
        self.offset = offset
        self.function = function
        self.remedy = remedy
        self.file = file

    def __str__(self) -> str:
        """One line: file: section+offset (in function): found; remedy."""
        parts = []
        if self.file is not None:
            parts.append(self.file)
        if self.section is not None:
            place = self.section if self.offset is None else f"{self.section}+{self.offset:#x}"
            parts.append(f"{place} (in {self.function})" if self.function else place)
        parts.append(f"{self.found}; {self.remedy}" if self.remedy else self.found)
        return printable(": ".join(parts))


def printable(text: str) -> str:
    """``text`` with control characters and undecodable bytes escaped.

    Names come from the object, which may hold anything: they must break neither the line nor the
    terminal, and every output has to be able to encode them.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def complain(line: str) -> None:
    """Print nopfix's one line on standard error, if anybody listens."""
    say(f"nopfix: {printable(line)}\n")


def say(text: str) -> None:
    """Write ``text`` to standard error, if anybody listens: what it tells of happened anyway."""
    if sys.stderr is not None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:
            return


def internal_error(error: Exception) -> str:
    """The line for an exception that nobody expected.

    Where $NOPFIX_DEBUG is set, its traceback is printed, too.
    """
    import os

    if os.environ.get("NOPFIX_DEBUG") and sys.stderr is not None:
        sys.excepthook(type(error), error, error.__traceback__)
    return (
        f"internal error, {type(error).__name__}: {error}; please report it ($NOPFIX_DEBUG=1"
        " shows where it comes from)"
    )
