"""The refusals that are expected, each with its reason.

``baseline.toml`` beside this module lists them.  A case that is refused and matches no entry is a
failure, and so is one that matches an entry but was refused for another reason.  An entry::

    [[refusal]]
    source = "gcc.c-torture/compile/labels-*.c"     # a glob over the source's short name
    compiler = "*"                                   # optional, a glob
    flags = "*"                                      # optional, a glob over the joined flags
    found = "numbers the assembler resolved"         # must occur in the refusal
    reason = "why nopfix can't do better"

An entry with ``source = "*"`` is about an option: whatever is compiled with it is refused, by rule.
Those refusals are counted apart (`by_option`).
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


def entry(source: str, compiler: str, flags: str, refusal: str) -> Expected | None:
    """Return the entry that a refusal matches, one of its source rather than one of an option."""
    found = [
        one
        for one in expected()
        if fnmatch.fnmatchcase(source, one.source)
        and fnmatch.fnmatchcase(compiler, one.compiler)
        and fnmatch.fnmatchcase(flags, one.flags)
        and one.found in refusal
    ]
    return min(found, key=lambda one: one.source == "*", default=None)


def _entry_of(result: Result) -> Expected | None:
    if result.verdict != "refused":
        return None
    return entry(result.source, result.compiler, result.flags, result.detail)


def expects(result: Result) -> bool:
    """Say whether a result is a refusal that is listed here."""
    return _entry_of(result) is not None


def by_option(result: Result) -> bool:
    """Say whether a result is a refusal that is listed here for an option, whatever the source."""
    found = _entry_of(result)
    return found is not None and found.source == "*"


def failed(result: Result) -> bool:
    """Say whether a result is one that must not be: wrong, or refused and not listed here."""
    return result.verdict in WRONG or (result.verdict == "refused" and not expects(result))
