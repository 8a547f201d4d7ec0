"""A mistake of a command's own is one line and exit status 70, whichever command it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SAMPLE = str(ROOT / "samples" / "recursion.o")

# What each command runs, with a mistake put into something that it uses; then its arguments.
COMMANDS = {
    "nopfix": (
        "import rewriter.pipeline; rewriter.pipeline.rewrite = broken\n"
        "from rewriter.__main__ import main",
        [SAMPLE, "out.o"],
    ),
    "nopfix, half of it installed": (
        "sys.modules['rewriter.output'] = None\nfrom rewriter.__main__ import main",
        [SAMPLE, "out.o"],
    ),
    "nopfix --list": (
        "import rewriter.elf; rewriter.elf.read = broken\nfrom rewriter.__main__ import main",
        ["--list", SAMPLE],
    ),
    "nopfix --verify": (
        "import verifier; verifier.verify = broken\nfrom rewriter.__main__ import main",
        ["--verify", SAMPLE, "out.o"],
    ),
    "nopfix-verify": (
        "import verifier.check; verifier.check._verify = broken\nfrom verifier.command import main",
        [SAMPLE, SAMPLE],
    ),
    "nopfix-toolchain": (
        "import rewriter.toolchain; rewriter.toolchain.make = broken\n"
        "from rewriter.toolchain import main",
        ["folder"],
    ),
    "nopfix-serve": (
        "import rewriter.server; rewriter.server._run = broken\nfrom rewriter.server import main",
        ["true"],
    ),
    "nopfix-cc": (
        "import rewriter.compiler_arguments as c; c.plan = broken\n"
        "from rewriter.wrapper import main",
        ["cc", "-c", "f.c"],
    ),
    "nopfix-gcc": (
        "import rewriter.compiler_arguments as c; c.plan = broken\n"
        "from rewriter.wrapper import gcc as main",
        ["-c", "f.c"],
    ),
    "nopfix-clang": (
        "import rewriter.compiler_arguments as c; c.plan = broken\n"
        "from rewriter.wrapper import clang as main",
        ["-c", "f.c"],
    ),
    "nopfix-corpus": (
        "import corpus.report; corpus.report.as_text = broken\nfrom corpus.command import main",
        ["report"],
    ),
}
BROKEN = "import sys\ndef broken(*_, **__): raise LookupError('two\\nlines')\n"


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("command", COMMANDS)
def test_an_internal_error_is_one_line_and_status_70(
    tmp_path: Path, command: str, debug: bool
) -> None:
    code, arguments = COMMANDS[command]
    (tmp_path / "out.o").write_bytes(b"before")
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | ({"NOPFIX_DEBUG": "1"} if debug else {})
    done = subprocess.run(
        [sys.executable, "-c", f"{BROKEN}{code}\nsys.exit(main())", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert (done.returncode, done.stdout) == (70, "")
    said = done.stderr.splitlines()
    assert "internal error, " in said[-1]
    assert said[-1].startswith("nopfix")
    assert ("Traceback (most recent call last):" in said) is debug
    assert (len(said) > 1) is debug
    assert (tmp_path / "out.o").read_bytes() == b"before"
