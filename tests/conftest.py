"""Fixtures that all tests share."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

# What the tests send signals to inherits which are ignored, and a shell has its background jobs
# ignore some, as nohup does.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(_number, signal.SIG_DFL)

SAMPLES = Path(__file__).parent.parent / "samples"


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of the committed samples."""
    return SAMPLES


@pytest.fixture
def assemble(tmp_path: Path) -> Callable[..., bytes]:
    """A function that assembles source text and gives the object's bytes."""
    program = shutil.which("powerpc64le-linux-gnu-as")
    if program is None:
        pytest.skip("needs powerpc64le-linux-gnu-as (binutils-powerpc64le-linux-gnu)")

    def run(source: str, *options: str) -> bytes:
        output = tmp_path / "assembled.o"
        subprocess.run([program, *options, "-o", output, "-"], input=source.encode(), check=True)
        return output.read_bytes()

    return run
