"""Manual pages and completions come from the same source as --help, and have all of it."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nopfix.corpus import command as corpus_command
from nopfix.rewriter import command
from nopfix.rewriter.build import toolchain
from nopfix.verifier import command as verify_command

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parents[2] / "docs"
PARSERS = [module.parser() for module in (command, verify_command, toolchain, corpus_command)]
PAGES = sorted((DOCS / "man").glob("*.1"))


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The names of a command's options, those of its subcommands among them."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from options(inner)
        yield from action.option_strings


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.prog)
def test_the_manual_page_and_the_completions_have_every_option(
    parser: argparse.ArgumentParser,
) -> None:
    """Where this fails, an option is new or gone: make man."""
    page = (DOCS / "man" / f"{parser.prog}.1").read_text().replace("\\-", "-")
    bash = (DOCS / "completions" / "bash" / parser.prog).read_text()
    zsh = (DOCS / "completions" / "zsh" / f"_{parser.prog}").read_text()
    names = set(options(parser)) - {"-h", "--help"}
    assert len(names) > 1
    assert [name for name in names for text in (page, bash, zsh) if name not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_manual_page_has_the_sections_that_readers_look_for(page: Path) -> None:
    text = page.read_text()
    if text.startswith(".so "):
        assert (DOCS / text.split()[1].replace("man1", "man")).is_file()
        return
    for name in ("NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "EXIT STATUS"):
        assert f"\n.SH {name}\n" in text
    name = text.partition(".SH NAME\n")[2].splitlines()[0].replace("\\-", "-")
    assert name.startswith((f"{page.stem} - ", f"{page.stem}, "))


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_shell_can_read_every_completion(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    for path in (DOCS / "completions" / shell).iterdir():
        done = subprocess.run([shell, "-n", path], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_tab_offers_options_and_files(tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    (tmp_path / "some.o").touch()
    script = f"""
        source {DOCS}/completions/bash/nopfix
        COMP_WORDS=(nopfix --sib); COMP_CWORD=1; _shtab_nopfix nopfix --sib; echo ${{COMPREPLY[@]}}
        COMP_WORDS=(nopfix so); COMP_CWORD=1; _shtab_nopfix nopfix so; echo ${{COMPREPLY[@]}}
    """
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["--sibling-calls", "some.o"]
