"""What a debugger says of a program: gdb on qemu's stub, the same questions to two programs.

gdb stops at every function of the source file and prints the backtrace with arguments and entry
values and the locals.  Where the code moved, addresses differ and nothing else may: they are
taken out of the transcript before it is compared.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

from nopfix.corpus.execution import emulator
from nopfix.corpus.toolchain import ToolError

if TYPE_CHECKING:
    from pathlib import Path

#: Stops of one transcript; a loop would give thousands.
STOPS = 40
_TIMEOUT_SECONDS = 60

_ADDRESS = re.compile(r"\b0x[0-9a-f]+\b")
#: What gdb says about itself.
_NOISE = re.compile(r"^(?:Remote debugging|Breakpoint \d+ at|warning:|\[|Reading|Function \")")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def missing() -> str:
    """Say what the check lacks, "" when nothing."""
    return "" if shutil.which("gdb-multiarch") else "gdb-multiarch"


def transcript(program: Path, source: str, root: str = "") -> list[str]:
    """Return what gdb prints at the functions of `source` (a file's name) while `program` runs.

    Raises ToolError when gdb-multiarch or qemu isn't installed.
    """
    debugger = shutil.which("gdb-multiarch")
    if debugger is None:
        raise ToolError("gdb-multiarch: not installed")
    port = _free_port()
    stop = ["-ex", "bt", "-ex", "info locals", "-ex", "continue"]
    questions = [
        "set pagination off", "set print entry-values both", "set confirm off", "set width 0",
        "set print frame-arguments all", f"target remote 127.0.0.1:{port}", f"rbreak {source}:.",
    ]  # fmt: skip
    command = [debugger, "-nx", "-batch", str(program)]
    for question in questions:
        command += ["-ex", question]
    command += ["-ex", "continue", *(stop * STOPS), "-ex", "kill"]
    with subprocess.Popen(
        [*emulator(root), "-g", str(port), str(program)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as running:  # fmt: skip
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace",
                timeout=_TIMEOUT_SECONDS, check=False,
            )  # fmt: skip
            output = done.stdout
        except subprocess.TimeoutExpired:
            output = "no end"
        finally:
            running.kill()
    lines = (_ADDRESS.sub("ADDRESS", line) for line in output.splitlines())
    return [line for line in lines if line and not _NOISE.match(line)]


def difference(before: Path, after: Path, source: str, root: str = "") -> str:
    """Say where the transcripts of two programs first differ, "" when they don't."""
    expected, seen = transcript(before, source, root), transcript(after, source, root)
    for old, new in zip(expected, seen, strict=False):
        if old != new:
            return f"gdb: {new!r}, untouched: {old!r}"
    if len(expected) != len(seen):
        return f"gdb: {len(seen)} lines, untouched: {len(expected)}"
    return ""
