"""Patches written as edits: which place of which file, and our own text for it.

A patch against a kernel file carries the kernel's lines as context, and fits one version.  An edit
names a function and says what goes where in it; the difference of the files before and after, which
is what kpatch-build wants, is made when it is needed.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class EditError(Exception):
    """No place, or no file, for an edit."""


class Edit(NamedTuple):
    """`text` goes behind what the regular expression `place` matches first in `file`.

    `file` may name several, separated by blanks: the first in which the place is found.  With
    `instead` the text takes the place of the match; its ``\\\\1`` is the match's first group.
    """

    file: str
    place: str
    text: str
    instead: bool = False


def _definition(function: str) -> str:
    """The regular expression of a definition's head, with the brace; group 1 is all of it."""
    name = function if function.startswith("SYSCALL") else rf"{function}\("
    return rf"(^(?:[a-z][^\n;(]*[\s*])?{name}[^;{{}}]*\)\n\{{\n)"


def at_start(file: str, function: str, text: str) -> Edit:
    """Statements in front of a function's first line."""
    return Edit(file, _definition(function), text)


def after_declarations(file: str, function: str, text: str) -> Edit:
    """Statements behind the first blank line of a function, which closes its declarations."""
    return Edit(file, _definition(function) + r"(?:[^\n]+\n)*\n", text)


def before(file: str, function: str, text: str) -> Edit:
    """New definitions in front of a function."""
    return Edit(file, _definition(function), text.replace("\\", "\\\\") + "\\1", instead=True)


def at_end(file: str, text: str) -> Edit:
    """New definitions at the end of a file."""
    return Edit(file, r"\Z", text)


def apply(edits: Sequence[Edit], sources: Path) -> dict[str, tuple[str, str]]:
    """Each edited file's text before and after, by its path inside ``sources``.

    Raises `EditError` when an edit finds no place.
    """
    texts: dict[str, tuple[str, str]] = {}
    for edit in edits:
        for file in edit.file.split():
            if not (sources / file).exists():
                continue
            old, new = texts.get(file) or (((sources / file).read_text(),) * 2)
            found = re.search(edit.place, new, re.MULTILINE)
            if found:
                start = found.start() if edit.instead else found.end()
                text = found.expand(edit.text) if edit.instead else edit.text
                texts[file] = (old, new[:start] + text + new[found.end() :])
                break
        else:
            raise EditError(f"{edit.file}: no place like {edit.place!r}")
    return texts


def difference(edits: Sequence[Edit], sources: Path) -> str:
    """The patch, as ``patch -p1`` takes it.  Raises `EditError`."""
    lines: list[str] = []
    for file, (old, new) in apply(edits, sources).items():
        lines += difflib.unified_diff(
            old.splitlines(keepends=True),
            new.splitlines(keepends=True),
            f"a/{file}",
            f"b/{file}",
            n=3,
        )
    return "".join(lines)
