"""The plain forms of the command mean what the parser makes of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nopfix.rewriter import command, plain_form

ROOT = Path(__file__).parents[2]
PLAIN = ["IN OUT", "-q IN OUT", "IN OUT -q", "--quiet --verify IN OUT", "--verify IN OUT -q", "x x"]
OTHERS = [
    "",
    "IN",
    "IN OUT MORE",
    "-v IN OUT",
    "-qv IN OUT",
    "--ver IN OUT",
    "- OUT",
    "IN -",
    "-j2 IN OUT",
]
OTHERS += [
    "IN -q OUT",
    "--list IN",
    "--only f IN OUT",
    "-- IN OUT",
    "--report=r IN OUT",
    "--help",
    "--version",
]


@pytest.mark.parametrize("arguments", PLAIN)
def test_a_plain_form_gives_what_the_parser_gives(arguments: str) -> None:
    words = arguments.split()
    found = plain_form.read(words)
    assert found is not None
    assert vars(found) == vars(command.parse(words))


@pytest.mark.parametrize("arguments", OTHERS)
def test_whatever_else_is_said_is_the_parser_s(arguments: str) -> None:
    assert plain_form.read(arguments.split()) is None
    assert plain_form.read(["", "OUT"]) is None


@pytest.mark.parametrize(("options", "loaded"), [((), False), (("-q",), False), (("-v",), True)])
def test_a_plain_form_loads_no_argument_parser(
    tmp_path: Path, options: tuple[str, ...], loaded: bool
) -> None:
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}]\n"
        "from nopfix.rewriter.__main__ import main; status = main()\n"
        "sys.exit(status or 10 * ('argparse' in sys.modules))"
    )
    sample = ROOT / "samples" / "recursion.o"
    words = [sys.executable, "-IS", "-c", code, *options, str(sample), "out.o"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 10 * loaded, done.stderr
    assert (tmp_path / "out.o").read_bytes() != sample.read_bytes()
