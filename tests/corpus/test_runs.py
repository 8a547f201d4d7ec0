"""Whole runs of the regression tool: resuming, workers that die, a cluster."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from corpus import case, command, plan, pool, store, toolchain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from corpus.case import Case, Result

SOURCE = """
int g(int);
static __attribute__((noinline)) int f(int x) { return g(x) + %d; }
int h(int x) { return f(x) * f(x + 1); }
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    try:
        toolchain.compiler("gcc-12")
    except toolchain.ToolError as missing:
        pytest.skip(str(missing))
    folder = tmp_path / "sources"
    folder.mkdir()
    for number in range(24):
        (folder / f"{number:02}.c").write_text(SOURCE % number)
    return folder


def run(folder: Path, database: Path, *more: str) -> int:
    return command.main(["run", "--corpus", str(folder), "--db", str(database), "-j2", *more])


def test_a_run_goes_on_where_it_was_stopped(
    sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = tmp_path / "r.db"
    run(sources, database, "--limit", "10")
    with store.opened(database) as results:
        assert len(results.keys()) == 10
    run(sources, database, "--resume")
    assert "24 cases, 10 of them known" in capsys.readouterr().out
    with store.opened(database) as results:
        found = results.results()
    assert sorted(one.source for one in found) == sorted(str(f) for f in sources.iterdir())
    assert {one.verdict for one in found} == {"equal"}
    assert run(sources, database) == 0
    assert "24 cases, 24 of them known" in capsys.readouterr().out


def test_a_changed_source_is_run_again(sources: Path, tmp_path: Path) -> None:
    database = tmp_path / "r.db"
    run(sources, database)
    (sources / "03.c").write_text(SOURCE % 1000)
    known = store.Store(database).keys()
    todo = [
        one
        for one in plan.cases([str(sources)], ["gcc-12"], [("-O2",)], ("oracle", "slots"))
        if case.key(one) not in known
    ]
    assert [Path(one.source).name for one in todo] == ["03.c"]


def fake(one: Case, verdict: str) -> Result:
    return pool.died(one)._replace(verdict=verdict)


def deadly(cases: Sequence[Case]) -> list[Result]:
    """Work that one of the cases doesn't survive."""
    for one in cases:
        if one.name.endswith("07.c"):
            os.kill(os.getpid(), signal.SIGKILL)
    return [fake(one, "equal") for one in cases]


def test_a_case_that_kills_its_worker_costs_only_itself(sources: Path) -> None:
    cases = plan.cases([str(sources)], ["gcc-12"], [("-O2",), ("-Os",)], ("oracle",))
    results = list(pool.run_local(cases, 2, deadly))
    assert len(results) == len(cases) == len({one.key for one in results})
    crashed = {one.source for one in results if one.verdict == "crashed"}
    assert {Path(name).name for name in crashed} == {"07.c"}


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", *arguments], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def scheduler_address(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"Scheduler at:\s+(tcp://\S+)", line):
            return found.group(1)
    raise AssertionError("the scheduler said no address")


def test_a_cluster_that_loses_a_worker_loses_no_case(sources: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    top = Path(__file__).resolve().parents[2]
    os.environ["PYTHONPATH"] = f"{top}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    cases = plan.cases([str(sources)], ["gcc-12"], [("-O2",), ("-Os",), ("-O1",)], ("oracle",))
    host = ("--host", "127.0.0.1")
    with started("distributed.cli.dask_scheduler", *host, "--port", "0", "--no-dashboard") as head:
        address = scheduler_address(head)
        worker = ("distributed.cli.dask_worker", address, *host, "--nthreads", "1", "--no-nanny",
                  "--no-dashboard", "--local-directory", str(tmp_path))  # fmt: skip
        with started(*worker) as first, started(*worker):
            results = []
            for one in pool.run_on_cluster(cases, address):
                results.append(one)
                if len(results) == len(cases) // 2:
                    first.send_signal(signal.SIGKILL)
                    first.wait()
            assert first.returncode == -signal.SIGKILL
    assert len(results) == len(cases)
    assert {one.key for one in results} == {case.key(one) for one in cases}
    assert {one.verdict for one in results} == {"equal"}


def test_ready_made_objects_are_rewritten_and_their_slots_counted(
    sources: Path, tmp_path: Path
) -> None:
    objects = tmp_path / "objects"
    objects.mkdir()
    compiler = toolchain.compiler("gcc-12")
    source = str(sources / "00.c")
    toolchain.run([*compiler, "-O2", "-c", source, "-o", str(objects / "a.o")])
    (one,) = plan.cases([str(objects)], ["gcc-12"], [("-O2",)], ("slots",))
    assert one.compiler == ""
    outcome = case.run(one)
    assert (outcome.verdict, outcome.nops) == ("rewritten", 2)


@pytest.mark.slow
def test_a_failing_source_is_reduced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from corpus import reduce

    if shutil.which("creduce") is None:
        pytest.skip("creduce: not installed")
    source = tmp_path / "big.c"
    source.write_text(
        SOURCE % 1 + 'int unrelated[] = {1, 2, 3};\n__asm__("garbage in assembly");\n'
    )
    begun = time.monotonic()
    assert reduce.reduce(str(source), "gcc-12", ("-O2",), tmp_path / "small.c") == 0
    small = (tmp_path / "small.c").read_text()
    assert "garbage" in small
    assert "unrelated" not in small
    assert time.monotonic() - begun < 120
