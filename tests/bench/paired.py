"""Processor times of whole processes, taken in pairs.

The problem: other work on a machine, and the machine's own clock, change what a process takes by
half and more from one minute to the next, so two times that weren't taken together say little.

The rule: what is compared runs in turns, and each run is held against the one right before it.  Of
the ratios the median is what counts; the least and the largest beside it tell how far to trust it.
Processor time (user and system, as wait4 accounts it) and not wall time: other jobs lengthen the
latter of both, but not by the same factor.
"""

from __future__ import annotations

import os
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import resource
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[2]


class Usage(NamedTuple):
    """What one process took: seconds of processor time, of wall time."""

    cpu: float
    wall: float


class Row(NamedTuple):
    """One line of the table: what was asked, the ratio's median, least and largest.

    ``aim`` is what it should be at most, None where nothing is asked.  ``ms`` is the processor
    time, in milliseconds, of what stands above the line; 0 where the row isn't about time.
    """

    group: str
    name: str
    ratio: float
    least: float
    most: float
    aim: float | None = None
    ms: float = 0

    def line(self) -> str:
        """The row as text."""
        aim = "" if self.aim is None else f"{self.aim:g}"
        missed = "missed" if self.aim is not None and self.ratio > self.aim else ""
        time_ = f"{self.ms:.1f}" if self.ms else ""
        return (
            f"{self.group:10} {self.name:44.44} {self.ratio:7.3f} {self.least:7.3f}"
            f" {self.most:7.3f} {aim:>6} {time_:>9} {missed}".rstrip()
        )


HEADINGS = (
    f"{'group':10} {'what':44} {'ratio':>7} {'least':>7} {'most':>7} {'aim':>6} {'CPU ms':>9}"
)


def row(
    group: str, name: str, above: Sequence[float], below: Sequence[float], aim: float | None = None
) -> Row:
    """The row of a ratio: seconds of both, taken in turns."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return Row(
        *(group, name, statistics.median(ratios), min(ratios), max(ratios), aim),
        1000 * statistics.median(above),
    )


def in_turns(
    commands: Sequence[Sequence[str]], runs: int, folder: Path | None = None
) -> list[list[float]]:
    """Seconds of processor time of each command, ``runs`` times in turns after a first round."""
    taken: list[list[float]] = [[] for _ in commands]
    for number in range(runs + 1):
        for command, own in zip(commands, taken, strict=True):
            usage = measure(command, folder)
            if number:
                own.append(usage.cpu)
    return taken


def measure(command: Sequence[str], folder: Path | None = None) -> Usage:
    """Run a command and say what the operating system accounts to it.

    Raises SystemExit where it fails.
    """
    begun = time.monotonic()
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    usage = finished(process)
    wall = time.monotonic() - begun
    if process.returncode:
        raise SystemExit(f"{shlex.join(command)} ended with {process.returncode}")
    return Usage(usage.ru_utime + usage.ru_stime, wall)


def finished(process: subprocess.Popen[Any]) -> resource.struct_rusage:
    """Wait for a process, and return what the operating system accounts to it."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage


def peak_memory(obj: Path, out: Path) -> int:
    """The largest resident set of ``nopfix -q OBJ OUT``, in bytes, as the process itself reads it.

    What wait4 says begins with the size of the process that started it.
    """
    command = [sys.executable, "-IS", "-c", _TELL_PEAK, str(ROOT), "-q", str(obj), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout) << 10


_TELL_PEAK = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from nopfix.rewriter.__main__ import main
main()
for line in open("/proc/self/status"):
    if line.startswith("VmHWM:"):
        print(line.split()[1])
"""


def missed(rows: Sequence[Row]) -> Iterator[Row]:
    """Those that are above their aim."""
    return (one for one in rows if one.aim is not None and one.ratio > one.aim)
