"""The manual page comes from the same source as --help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nopfix.rewriter import command
from nopfix.rewriter.build import toolchain
from nopfix.verifier import command as verify_command


@pytest.mark.parametrize("module", [command, verify_command, toolchain])
def test_the_manual_page_describes_every_option(module: object) -> None:
    parser = module.parser()  # type: ignore[attr-defined]
    program = Path(sys.executable).parent / "argparse-manpage"
    if not program.exists():
        pytest.skip("needs argparse-manpage")
    done = subprocess.run(
        [program, "--module", module.__name__, "--function", "parser", "--prog", parser.prog],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    page = done.stdout.replace("\\-", "-").replace("\\", "")
    options = [name for action in parser._actions for name in action.option_strings]
    assert {"--report", "--prefix"} & {*options}
    assert [name for name in options if name not in page and name not in ("-h", "--help")] == []
