"""Time nopfix-verify against the rewrite, over kernel objects of all sizes.

For each object it is rewritten and verified in turns, in one process as under nopfix-serve, and the
least of the processor times of each is taken: other work on the machine only adds to it.  The
memory is that of a process of its own, without the interpreter and its modules.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from nopfix.rewriter import pipeline
from nopfix.rewriter.errors import Refusal
from nopfix.verifier import verify
from tests.bench.paired import Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

OBJECTS = 50
SMALLEST = 4000


class Measured(NamedTuple):
    """An object's bytes, seconds for rewriting and for verifying it, bytes of memory."""

    name: str
    size: int
    rewrite: float
    verify: float
    memory: int


def objects(folder: Path, scratch: Path, strip: Sequence[str]) -> Iterator[Path]:
    """Objects below a folder that get slots, spread over all sizes; every fifth without -g.

    `strip` is the command that takes debug information out.
    """
    kinds = (path for suffix in ("o", "ko") for path in folder.rglob(f"*.{suffix}"))
    found = sorted(
        (path for path in kinds if path.is_file() and path.stat().st_size > SMALLEST),
        key=lambda path: path.stat().st_size,
    )
    found = [path for path in found if path.stat().st_size < 8_000_000]
    taken = 0
    for number, path in enumerate(found):
        if taken == OBJECTS or number < taken * len(found) // OBJECTS:
            continue
        try:
            if not pipeline.rewrite(path.read_bytes()).report.insertions:
                continue
        except Refusal:
            continue
        taken += 1
        if taken % 5:
            yield path
        else:
            stripped = scratch / f"{taken}.o"
            subprocess.run([*strip, str(path), str(stripped)], check=True)
            yield stripped


def measure(paths: Sequence[Path], runs: int) -> Iterator[Measured]:
    """Rewrite and verify each object `runs` times."""
    gc.collect()
    gc.freeze()
    gc.disable()
    for path in paths:
        data = path.read_bytes()
        rewriting, verifying = [], []
        for _ in range(runs):
            begun = time.process_time()
            new = pipeline.rewrite(data).data
            between = time.process_time()
            report = verify(data, new)
            verifying.append(time.process_time() - between)
            rewriting.append(between - begun)
            if not report.verified:
                raise SystemExit(f"{path}: {report.differences[0]}")
        gc.collect()
        yield Measured(path.name, len(data), min(rewriting), min(verifying), _memory(path))


_PEAK = """
import gc, sys
def peak():
    return next(int(x.split()[1]) << 10 for x in open("/proc/self/status") if x[:5] == "VmHWM")
from nopfix.rewriter import pipeline
from nopfix.verifier import verify
data = open(sys.argv[1], "rb").read()
new = bytes(pipeline.rewrite(data).data)
open("/proc/self/clear_refs", "w").write("5")
before = peak()
gc.disable()
verify(data[:64] + data[64:], new)
print(peak() - before)
"""


def _memory(path: Path) -> int:
    """Bytes that verifying an object takes beyond the two objects and the modules."""
    command = [sys.executable, "-c", _PEAK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 else 0


def rows(measured: Sequence[Measured]) -> Iterator[Row]:
    """All objects together: over the rewrite, milliseconds a megabyte, memory by the object."""
    verifying, rewriting, size = (
        sum(getattr(one, field) for one in measured) for field in ("verify", "rewrite", "size")
    )
    ratios = [one.verify / one.rewrite for one in measured]
    speeds = [one.verify / one.size * 1e9 for one in measured]
    memory = [one.memory / one.size for one in measured]
    yield Row(
        *("verify", f"{len(measured)} objects / rewrite", verifying / rewriting),
        *(min(ratios), max(ratios), 5.0, 1000 * verifying),
    )
    speed = verifying / size * 1e9
    yield Row("verify", "milliseconds a megabyte", speed, min(speeds), max(speeds), 250.0)
    whole = sum(one.memory for one in measured) / size
    yield Row("verify", "memory / object", whole, min(memory), max(memory), 12.0)


def table(measured: Sequence[Measured]) -> Iterator[str]:
    """The lines to print: ten of the objects, and all of them together."""
    heads = f"{'object':24} {'KB':>8} {'rewrite':>8} {'verify':>8}"
    yield f"{heads} {'ratio':>6} {'MB/s':>6} {'memory':>7}"
    ordered = sorted(measured, key=lambda one: one.size)
    total = Measured("all", *(sum(column) for column in [*zip(*ordered, strict=True)][1:]))
    for one in [*ordered[:: max(1, len(ordered) // 10)], total]:
        yield (
            f"{one.name:24.24} {one.size / 1000:8.1f} {1000 * one.rewrite:8.1f}"
            f" {1000 * one.verify:8.1f} {one.verify / one.rewrite:6.2f}"
            f" {one.size / one.verify / 1e6:6.2f} {one.memory / one.size:7.1f}"
        )
