"""Manual pages and shell completions, made from the commands' own options: ``make man``.

What is made lies beside this file and is part of the sources, so that neither a wheel nor a
distribution's package needs the makers.  The commands that pass their arguments on (nopfix-cc and
its kin, nopfix-serve) have pages written by hand.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

import shtab
from argparse_manpage.manpage import Manpage

import nopfix
from nopfix.corpus import command as corpus
from nopfix.rewriter import command
from nopfix.rewriter.build import toolchain
from nopfix.verifier import command as verifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent

COMMANDS: dict[Callable[[], argparse.ArgumentParser], str] = {
    command.parser: "insert TOC-restore slots into finished ppc64le objects",
    verifier.parser: "check that an object is another one plus nops",
    toolchain.parser: "make a folder of tools whose compilers insert TOC-restore slots",
    corpus.parser: "run nopfix over corpora of compiler output",
}
"""Each command's parser, and what whatis(1) says of it."""

PATHS = re.compile(r"\b(IN|OUT|FILE|DIR|OLD|NEW)\b")
"""In an argument's name: it is a path."""


def main() -> None:
    """Write all of them."""
    for parser, what in COMMANDS.items():
        name = parser().prog
        (HERE / "man" / f"{name}.1").write_text(page(parser(), what))
        for shell, path in (("bash", name), ("zsh", f"_{name}")):
            folder = HERE / "completions" / shell
            folder.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(completion(parser(), shell))


def page(parser: argparse.ArgumentParser, what: str) -> str:
    """The manual page.  The day of its making would differ each time, so it has none."""
    usage, epilog = parser.usage, parser.epilog or ""
    parser.epilog = None
    data = {
        "prog": parser.prog,
        "description": what,
        "project_name": f"nopfix {nopfix.__version__}",
        "manual_title": "User Commands",
    }
    text = str(Manpage(parser, _data=data))
    head, _, rest = text.partition(".SH SYNOPSIS\n")
    head = re.sub(r'^(\.TH \S+ "1" )"[^"]*"', r'\1""', head, count=1)
    old, _, rest = rest.partition(".SH DESCRIPTION\n")
    if usage:
        old = "\n.br\n".join(roff(line.strip()) for line in usage.splitlines()) + "\n"
    sections = "".join(section(part) for part in epilog.strip().split("\n\n"))
    return f"{head}.SH SYNOPSIS\n{old}.SH DESCRIPTION\n{rest.rstrip()}\n{sections}"


def section(paragraph: str) -> str:
    """A paragraph from below the options as a section: "examples:", "exit status: ..."."""
    if paragraph.startswith("examples:\n"):
        lines = [roff(line[2:]) for line in paragraph.splitlines()[1:]]
        return ".SH EXAMPLES\n.nf\n" + "\n".join(lines) + "\n.fi\n"
    name, colon, rest = paragraph.partition(": ")
    if colon and "\n" not in name:
        return f".SH {name.upper()}\n{roff(rest)}\n"
    return f".SH NOTES\n{roff(paragraph)}\n"


def roff(text: str) -> str:
    """Plain text for roff: no line of it is a request, and hyphens are those of commands."""
    return re.sub(r"(?m)^([.'])", r"\\&\1", text.replace("\\", "\\e").replace("-", "\\-"))


def completion(parser: argparse.ArgumentParser, shell: str) -> str:
    """The completion for ``shell``, with paths where an argument is one."""
    for action in actions(parser):
        if PATHS.search(str(action.metavar or "")) and not action.choices:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    text = shtab.complete(parser, shell)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The arguments of a parser and of its subcommands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from actions(inner)
        else:
            yield action


if __name__ == "__main__":
    main()
