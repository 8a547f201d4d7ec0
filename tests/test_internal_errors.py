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
        "import nopfix.rewriter.pipeline; nopfix.rewriter.pipeline.rewrite = broken\n"
        "from nopfix.rewriter.__main__ import main",
        [SAMPLE, "out.o"],
    ),
    "nopfix, half of it installed": (
        "sys.modules['nopfix.rewriter.build.output'] = None\n"
        "from nopfix.rewriter.__main__ import main",
        [SAMPLE, "out.o"],
    ),
    "nopfix --list": (
        "import nopfix.rewriter.object.elf; nopfix.rewriter.object.elf.read = broken\n"
        "from nopfix.rewriter.__main__ import main",
        ["--list", SAMPLE],
    ),
    "nopfix --verify": (
        "from nopfix import verifier; verifier.verify = broken\n"
        "from nopfix.rewriter.__main__ import main",
        ["--verify", SAMPLE, "out.o"],
    ),
    "nopfix-verify": (
        "import nopfix.verifier.check; nopfix.verifier.check.placed = broken\n"
        "from nopfix.verifier.command import main",
        [SAMPLE, SAMPLE],
    ),
    "nopfix-toolchain": (
        "import nopfix.rewriter.build.toolchain; nopfix.rewriter.build.toolchain.make = broken\n"
        "from nopfix.rewriter.build.toolchain import main",
        ["folder"],
    ),
    "nopfix-serve": (
        "import nopfix.rewriter.build.server; nopfix.rewriter.build.server._run = broken\n"
        "from nopfix.rewriter.build.server import main",
        ["true"],
    ),
    "nopfix-cc": (
        "import nopfix.rewriter.build.compiler_arguments as c; c.plan = broken\n"
        "from nopfix.rewriter.build.wrapper import main",
        ["cc", "-c", "f.c"],
    ),
    "nopfix-gcc": (
        "import nopfix.rewriter.build.compiler_arguments as c; c.plan = broken\n"
        "from nopfix.rewriter.build.wrapper import gcc as main",
        ["-c", "f.c"],
    ),
    "nopfix-clang": (
        "import nopfix.rewriter.build.compiler_arguments as c; c.plan = broken\n"
        "from nopfix.rewriter.build.wrapper import clang as main",
        ["-c", "f.c"],
    ),
    "nopfix-corpus": (
        "import nopfix.corpus.report; nopfix.corpus.report.as_text = broken\n"
        "from nopfix.corpus.command import main",
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
