"""Generate inputs and run the command on them, for a given time.

    python -m tests.fuzz --seconds 3600 [--corpus DIR] [--findings DIR] [--engine random]
    python -m tests.fuzz --reproduce FILE...

A worker process does the work; this one only watches that it makes progress.  Inputs that show
something wrong are kept in DIR, one for each kind and place, and the exit status is 1 when there
were any.  With atheris installed, inputs that reach new code become starting points themselves;
a corpus folder keeps them for the next run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pkgutil
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.fuzz.judge import Outcome

#: A worker that does nothing for as many seconds of wall time hangs in code that can't be
#: interrupted.
PATIENCE = 300
MEMORY_LIMIT = 3 << 30
LONGEST_INPUT = 1 << 17


class Paths(NamedTuple):
    """Where a run keeps its files."""

    corpus: Path
    findings: Path
    scratch: Path

    @property
    def current(self) -> Path:
        """The input that is being worked on."""
        return self.scratch / "current"

    @property
    def counts(self) -> Path:
        """The worker's counts so far, as JSON."""
        return self.scratch / "counts"


def main() -> int:
    """Run the command; returns 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--corpus", type=Path, help="keep inputs that reach new code in DIR")
    parser.add_argument("--findings", type=Path, default=Path(".cache/fuzz-findings"))
    parser.add_argument("--engine", choices=("atheris", "random"), help="default: what is there")
    parser.add_argument("--seed", type=int, default=None, help="of the random numbers")
    parser.add_argument("--reproduce", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reproduce:
        return _reproduce(options.reproduce)
    engine = options.engine or ("atheris" if _has_atheris() else "random")
    seed = options.seed if options.seed is not None else int(time.time())
    if options.worker:
        paths = Paths(options.corpus, options.findings, options.worker)
        _work(engine, paths, options.seconds, seed)
        return 0
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as scratch:
        corpus = options.corpus or Path(scratch) / "corpus"
        for folder in (corpus, options.findings):
            folder.mkdir(parents=True, exist_ok=True)
        paths = Paths(corpus, options.findings, Path(scratch))
        return _watch(engine, paths, options.seconds, seed)


def _has_atheris() -> bool:
    import importlib.util

    return importlib.util.find_spec("atheris") is not None


# -- the watching process -------------------------------------------------------------------------


def _watch(engine: str, paths: Paths, seconds: float, seed: int) -> int:
    """Run workers until the time is up, a new one where one died; print what came out."""
    end = time.monotonic() + seconds
    total: Counter[str] = Counter()
    while (left := end - time.monotonic()) > 1:
        paths.counts.unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.fuzz", "--worker", str(paths.scratch)]
        command += ["--corpus", str(paths.corpus), "--findings", str(paths.findings.resolve())]
        command += ["--engine", engine, "--seconds", str(left), "--seed", str(seed)]
        seed += 1
        with (paths.scratch / "log").open("wb") as log:
            worker = subprocess.Popen(command, stdout=log, stderr=log)
            reason = _guard(worker, paths, end)
        counts = _counts(paths)
        total.update({key: value for key, value in counts.items() if isinstance(value, int)})
        if reason:
            data = paths.current.read_bytes() if paths.current.exists() else b""
            _keep(paths.findings, "worker", data, f"{reason}\n{_tail(paths)}")
            total["findings"] += 1
            if not counts.get("inputs"):
                print(_tail(paths), file=sys.stderr)
                break
    print(_summary(engine, total), flush=True)
    for finding in sorted(paths.findings.glob("*.txt")):
        print(f"{finding.stem}: {finding.read_text().strip().splitlines()[-1]}")
    return 1 if total["findings"] else 0


def _guard(worker: subprocess.Popen[bytes], paths: Paths, end: float) -> str:
    """Wait for a worker; why it is to be reported, "" when it ended as it should."""
    seen, since, shown = -1, time.monotonic(), time.monotonic()
    while True:
        try:
            status = worker.wait(timeout=2)
        except subprocess.TimeoutExpired:
            status = None
        now = time.monotonic()
        inputs = _counts(paths).get("inputs", 0)
        if inputs != seen:
            seen, since = inputs, now
        if status is not None:
            return "" if now > end - 5 or status == 0 else f"the worker ended with {status}"
        if now - since > PATIENCE or now > end + PATIENCE:
            worker.kill()
            worker.wait()
            return f"no progress for {PATIENCE} s"
        if now - shown > 60:
            shown = now
            print(json.dumps(_counts(paths)), flush=True)


def _counts(paths: Paths) -> dict[str, Any]:
    try:
        counts: dict[str, Any] = json.loads(paths.counts.read_text())
    except (OSError, ValueError):
        return {}
    return counts


def _tail(paths: Paths) -> str:
    return (paths.scratch / "log").read_text(errors="replace")[-2000:]


def _summary(engine: str, total: Counter[str]) -> str:
    return (
        f"{total['inputs']} inputs ({engine}): {total['status 0']} rewritten, "
        f"{total['status 1']} refused, {total['status 3']} input errors; "
        f"{total['findings']} findings"
    )


def _keep(folder: Path, name: str, data: bytes, text: str) -> bool:
    """Keep an input and what is wrong with it; False when one of that name is there already."""
    if (folder / f"{name}.txt").exists():
        return False
    (folder / f"{name}.o").write_bytes(data)
    (folder / f"{name}.txt").write_text(text + "\n", errors="backslashreplace")
    return True


# -- the worker -----------------------------------------------------------------------------------


class _Worker:
    """Runs inputs and counts."""

    def __init__(self, paths: Paths) -> None:
        from tests.fuzz import judge

        self._judge = judge
        self._paths = paths
        self._folder = paths.scratch / "files"
        self._folder.mkdir(exist_ok=True)
        self._counts: Counter[str] = Counter()
        self._written = 0.0

    def warm_up(self, seeds: Iterable[bytes]) -> None:
        """Run every seed with all options, so that what is set up once has been."""
        for seed in seeds:
            for _ in range(2):
                self._judge.run(seed, self._folder)

    def run(self, data: bytes) -> Outcome:
        """Run one input and keep it when something is wrong."""
        self._paths.current.write_bytes(data)
        outcome = self._judge.run(data, self._folder)
        self._counts["inputs"] += 1
        self._counts[f"status {outcome.status}"] += 1
        if finding := outcome.finding:
            place = "".join(c if c.isalnum() else "-" for c in finding.place)[:80]
            name = f"{finding.kind}-{place}"
            self._counts["findings"] += _keep(self._paths.findings, name, data, finding.detail)
        if time.monotonic() - self._written > 1:
            self.write_counts()
        return outcome

    def run_quietly(self, data: bytes) -> None:
        """The same, for libFuzzer, which wants nothing back."""
        self.run(data)

    def write_counts(self) -> None:
        """Let the watching process see how far this one is."""
        self._written = time.monotonic()
        new = self._paths.counts.with_suffix(".new")
        new.write_text(json.dumps(self._counts))
        new.rename(self._paths.counts)


def seeds() -> list[bytes]:
    """The objects that everything starts from."""
    from tests.fuzz.judge import SEEDS

    found = [*sorted(SEEDS.glob("*.o")), *sorted(SEEDS.glob("*.dwo"))]
    samples = Path(__file__).parent.parent.parent / "samples"
    return [path.read_bytes() for path in (*found, *sorted(samples.glob("*.o")))]


def _work(engine: str, paths: Paths, seconds: float, seed: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    if engine == "atheris":
        _work_with_atheris(paths, seconds, seed)
    else:
        _work_at_random(paths, seconds, seed)


def _work_at_random(paths: Paths, seconds: float, seed: int) -> None:
    from tests.fuzz.mutate import mutate

    end = time.monotonic() + seconds
    random = Random(seed)
    pool = seeds() + [path.read_bytes() for path in sorted(paths.corpus.iterdir())]
    worker = _Worker(paths)
    worker.warm_up(pool)
    while time.monotonic() < end:
        worker.run(mutate(random.choice(pool), random))
    worker.write_counts()


def _work_with_atheris(paths: Paths, seconds: float, seed: int) -> None:
    import atheris

    with atheris.instrument_imports(include=["nopfix.rewriter", "nopfix.dwarf"]):
        from nopfix import dwarf, rewriter

        for package in (dwarf, rewriter):
            for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
                if not module.name.endswith("__main__"):
                    __import__(module.name)
    from tests.fuzz.mutate import mutate

    started = seeds()
    for number, data in enumerate(started):
        with contextlib.suppress(FileExistsError), open(paths.corpus / f"seed{number}", "xb") as f:
            f.write(data)
    worker = _Worker(paths)
    worker.warm_up(started)

    def another(data: bytes, longest: int, number: int) -> bytes:
        random = Random(number)
        # Corpora drift towards what is cheap to reach: keep coming back to whole objects.
        start = random.choice(started) if random.random() < 0.2 else data
        return mutate(start, random)[:longest]

    arguments = [sys.argv[0], f"-max_total_time={max(int(seconds), 1)}", f"-seed={seed & 0xFFFF}"]
    arguments += [
        f"-max_len={LONGEST_INPUT}",
        "-timeout=10000",
        "-rss_limit_mb=0",
        "-len_control=0",
    ]
    arguments += ["-len_control=0", "-reload=0", "-print_final_stats=1", str(paths.corpus)]
    atheris.Setup(arguments, worker.run_quietly, custom_mutator=another)
    atheris.Fuzz()


def _reproduce(files: Iterable[Path]) -> int:
    """Run inputs that were kept; returns 1 when something is still wrong with one."""
    from tests.fuzz import judge

    failed = 0
    with tempfile.TemporaryDirectory() as name:
        for file in files:
            outcome = judge.run(file.read_bytes(), Path(name))
            print(f"{file}: status {outcome.status}: {outcome.errors.strip()}")
            if outcome.finding:
                failed = 1
                print(f"  {outcome.finding.kind}: {outcome.finding.detail}")
    return failed


if __name__ == "__main__":
    os.environ.setdefault("LC_ALL", "C.UTF-8")
    sys.exit(main())
