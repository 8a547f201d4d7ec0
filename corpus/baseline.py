"""The refusals that are expected, each with its reason.

``baseline.toml`` beside this module lists them.  A case that is refused and matches no entry is a
failure, and so is one that matches an entry but was refused for another reason.  An entry::

    [[refusal]]
    source = "gcc.c-torture/compile/labels-*.c"     # a glob over the source's short name
    compiler = "*"                                   # optional, a glob
    flags = "*"                                      # optional, a glob over the joined flags
    found = "numbers the assembler resolved"         # must occur in the refusal
    reason = "why nopfix can't do better"
"""

from __future__ import annotations

import fnmatch
import functools
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nopfix.corpus.verdicts import WRONG

if TYPE_CHECKING:
    from nopfix.corpus.case import Result

_FILE = Path(__file__).with_name("baseline.toml")


class Expected(NamedTuple):
    """One expected refusal; the first three fields are globs."""

    source: str
    compiler: str
    flags: str
    found: str
    reason: str


@functools.cache
def expected(path: Path = _FILE) -> tuple[Expected, ...]:
    """Read the list.  Raises KeyError for an entry without source, found or reason."""
    entries = tomllib.loads(path.read_text("utf-8")).get("refusal", [])
    return tuple(
        Expected(
            entry["source"], entry.get("compiler", "*"), entry.get("flags", "*"),
            entry["found"], entry["reason"],
        )
        for entry in entries
    )  # fmt: skip


def reason(source: str, compiler: str, flags: str, refusal: str) -> str | None:
    """Return why this refusal is expected, or None when it isn't."""
    for entry in expected():
        if (
            fnmatch.fnmatchcase(source, entry.source)
            and fnmatch.fnmatchcase(compiler, entry.compiler)
            and fnmatch.fnmatchcase(flags, entry.flags)
            and entry.found in refusal
        ):
            return entry.reason
    return None


def expects(result: Result) -> bool:
    """Say whether a result is a refusal that is listed here."""
    if result.verdict != "refused":
        return False
    return reason(result.source, result.compiler, result.flags, result.detail) is not None


def failed(result: Result) -> bool:
    """Say whether a result is one that must not be: wrong, or refused and not listed here."""
    return result.verdict in WRONG or (result.verdict == "refused" and not expects(result))
