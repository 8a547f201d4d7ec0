"""Listings: for programs, for a terminal, as JSON; all say the same."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nopfix.rewriter import command
from nopfix.rewriter.options import Options
from nopfix.rewriter.show import listing

SAMPLES = Path(__file__).parents[2] / "samples"
NAMES = sorted(path.name for path in SAMPLES.glob("*.o"))


def made(name: str) -> listing.Listing:
    data = (SAMPLES / name).read_bytes()
    return listing.make(data, Options(), calls=True, branches=True)


@pytest.mark.parametrize("name", NAMES)
def test_columns_say_what_the_lines_say(name: str) -> None:
    found = made(name)
    plain = [line.split("\t") for line in listing.lines(found)][: len(found.calls or ())]
    shown = list(listing.on_terminal(found, colour=False))
    assert [re.split(r" {2,}", line) for line in shown[: len(plain)]] == plain
    for branch in found.branches or ():
        where = f"{branch.section}+{branch.offset:#x} in {branch.function}: {branch.kind}"
        start = shown.index(where) + 1
        reasons = shown[start : start + len(branch.reasons)]
        assert reasons == ["    " + reason for reason in branch.reasons]


def test_colours_change_no_word() -> None:
    found = made("recursion.o")
    coloured = list(listing.on_terminal(found, colour=True))
    assert "\x1b[32minsert\x1b[0m" in coloured[1]
    bare = [re.sub(r"\x1b\[\d+m", "", line) for line in coloured]
    assert bare == list(listing.on_terminal(found, colour=False))


def test_colours_are_for_terminals_whose_users_want_them() -> None:
    assert listing.colours({"TERM": "xterm"})
    assert not listing.colours({"TERM": "xterm", "NO_COLOR": "1"})
    assert not listing.colours({"TERM": "dumb"})


def test_a_terminal_gets_columns_and_a_pipe_gets_tabs() -> None:
    words = [sys.executable, "-m", "nopfix.rewriter", "--list", str(SAMPLES / "recursion.o")]
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": ""}
    ours, theirs = pty.openpty()
    subprocess.run(words, stdout=theirs, check=True, env=environment)
    os.close(theirs)
    said = ""
    with contextlib.suppress(OSError):  # the other side is closed: all is read
        while part := os.read(ours, 65536):
            said += part.decode()
    os.close(ours)
    assert "\x1b[" in said
    assert "\t" not in said
    assert "calls: " in said
    piped = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    assert "\x1b" not in piped.stdout
    assert all(line.count("\t") == 3 for line in piped.stdout.splitlines())


def test_json_says_what_the_lines_say(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(SAMPLES / "dispatch.o")
    assert command.main(["--list", "--explain", "--json", path]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["input"] == path
    found = made("dispatch.o")
    assert document["calls"] == [call._asdict() for call in found.calls or ()]
    assert [branch["kind"] for branch in document["branches"]] == [
        branch.kind for branch in found.branches or ()
    ]
    assert command.main(["--explain", "--json", path]) == 0
    assert "calls" not in json.loads(capsys.readouterr().out)
