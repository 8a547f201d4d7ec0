"""Whole runs of the regression tool: resuming, workers that die, a cluster."""

from __future__ import annotations

import contextlib
import errno
import os
import pty
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nopfix import rewriter
from nopfix.corpus import case, command, debugger, execution, plan, pool, reduce, store, toolchain
from nopfix.corpus import sources as corpus_sources
from nopfix.corpus.case import Case

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nopfix.corpus.case import Result

TOP = Path(__file__).resolve().parents[2]

SOURCE = """
int g(int);
static __attribute__((noinline)) int f(int x) { return g(x) + %d; }
int h(int x) { return f(x) * f(x + 1); }
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    try:
        toolchain.compiler(toolchain.Tools("gcc-12"))
    except toolchain.ToolError as missing:
        pytest.skip(str(missing))
    folder = tmp_path / "sources"
    folder.mkdir()
    for number in range(24):
        (folder / f"{number:02}.c").write_text(SOURCE % number)
    return folder


def cases_of(
    corpora: list[str], flags: list[tuple[str, ...]], checks: tuple[str, ...]
) -> list[Case]:
    matrix = plan.Matrix(toolchain.Tools("gcc-12"), tuple(flags), checks)
    return plan.cases(corpora, [matrix])


def run(folder: Path, database: Path, *more: str) -> int:
    return command.main(["run", "--corpus", str(folder), "--db", str(database), "-j2", *more])


def test_a_run_goes_on_where_it_was_stopped(
    sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = tmp_path / "r.db"
    run(sources, database, "--limit", "10")
    with store.opened(database) as results:
        assert len(results.keys()) == 10
    assert command.main(["run", "--db", str(database), "--resume"]) == 0
    assert "24 cases, 10 of them known" in capsys.readouterr().out
    with store.opened(database) as results:
        found = results.results()
    assert sorted(one.source for one in found) == sorted(str(f) for f in sources.iterdir())
    assert {one.verdict for one in found} == {"equal"}
    assert run(sources, database) == 0
    assert "24 cases, 24 of them known" in capsys.readouterr().out


def test_an_option_list_that_the_compiler_doesnt_take_is_said_once_and_left_out(
    sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = tmp_path / "r.db"
    assert run(sources, database, "--flags=-O2", "--flags=-O2 -fno-such-option") == 0
    said = capsys.readouterr().out
    assert said.count("-fno-such-option:") == 1
    assert "unrecognized command-line option" in said
    with store.opened(database) as results:
        assert {one.flags for one in results.results()} == {"-O2"}
    assert command.main(["report", "--db", str(database)]) == 0
    assert "-fno-such-option:" in capsys.readouterr().out


def test_a_run_with_no_option_list_that_the_compiler_takes_is_no_run(
    sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(sources, tmp_path / "r.db", "--flags=-fno-such-option") == 2
    assert "gcc-12 takes none of the option lists" in capsys.readouterr().err


def test_a_run_in_which_most_doesnt_compile_fails_and_says_so(
    sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in list(sources.iterdir())[2:]:
        path.write_text('#include "nowhere.h"\n')
    assert run(sources, tmp_path / "r.db") == 1
    said = capsys.readouterr().err
    assert "gcc-12: 2 of 24 cases compile" in said
    assert "nowhere.h" in said


def test_a_check_that_lacks_something_is_left_out_and_the_others_are_made(
    sources: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database = tmp_path / "r.db"
    words = (sources, database, "--check", "oracle,qemu,gdb", "--limit", "1")
    monkeypatch.setattr(debugger, "missing", lambda: "gdb-multiarch")
    assert run(*words) == 0
    assert "gdb is left out; it needs gdb-multiarch" in capsys.readouterr().err
    with store.opened(database) as results:
        assert [one.checks for one in results.results()] == ["oracle,qemu"]
    monkeypatch.setattr(execution, "missing", lambda tools: "qemu-ppc64le: not installed")
    assert run(*words) == 0
    assert "qemu is left out; it needs qemu-ppc64le" in capsys.readouterr().err
    with store.opened(database) as results:
        assert [one.checks for one in results.results()] == ["oracle"]


def test_on_a_terminal_a_bar_shows_rate_and_verdicts(sources: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    words = ["run", "--corpus", str(sources), "--db", str(tmp_path / "r.db"), "-j2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "nopfix.corpus.command", *words],
        cwd=TOP, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the terminal has gone with the process
        while part := os.read(ours, 1 << 16):
            shown += part
    os.close(ours)
    text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown).decode()
    assert process.wait() == 0, text
    assert re.search(r"24/24 [0-9.]+/s .*equal 24", text), text


def test_a_changed_source_is_run_again(sources: Path, tmp_path: Path) -> None:
    database = tmp_path / "r.db"
    run(sources, database)
    (sources / "03.c").write_text(SOURCE % 1000)
    known = store.Store(database).keys()
    todo = [
        one
        for one in cases_of([str(sources)], [("-O2",)], ("oracle", "slots"))
        if case.key(one) not in known
    ]
    assert [Path(one.source).name for one in todo] == ["03.c"]


def test_what_stands_around_the_rewriter_is_no_part_of_it() -> None:
    script = (
        "import sys, nopfix\n"
        "from pathlib import Path\n"
        "result = nopfix.rewrite(Path(sys.argv[1]).read_bytes())\n"
        "print(len(result.report.insertions), *sys.modules)"
    )
    sample = Path(__file__).parents[2] / "samples" / "dispatch.o"
    done = subprocess.run(
        [sys.executable, "-c", script, str(sample)], capture_output=True, text=True, check=True
    )
    inserted, *loaded = done.stdout.split()
    assert int(inserted)
    assert "nopfix.rewriter.pipeline" in loaded
    files = {f"{name.rpartition('.')[2]}.py" for name in loaded if ".rewriter." in name}
    assert not files & case.AROUND
    # Nor does one of them go by another name now.
    here = {path.name for path in Path(rewriter.__file__).parent.rglob("*.py")}
    assert here >= case.AROUND


def test_a_changed_header_makes_its_folder_run_again(sources: Path) -> None:
    def keys() -> set[str]:
        checks = ("oracle",)
        return {case.key(one) for one in cases_of([str(sources)], [()], checks)}

    (sources / "a.h").write_text("#define A 1\n")
    before = keys()
    assert keys() == before
    (sources / "a.h").write_text("#define A 22\n")
    assert not keys() & before


def test_a_run_that_is_killed_leaves_no_process_and_loses_no_result(
    sources: Path, tmp_path: Path
) -> None:
    database = tmp_path / "r.db"
    arguments = ["run", "--corpus", str(sources), "--db", str(database), "-j2"]
    arguments += ["--flags=-O2", "--flags=-O1"]
    with subprocess.Popen(
        [sys.executable, "-m", "nopfix.corpus.command", *arguments],
        stdout=subprocess.DEVNULL, process_group=0,
    ) as process:  # fmt: skip
        while not rows(database):
            assert process.poll() is None, "it ended before anything was written"
            time.sleep(0.05)
        process.kill()
    kept = rows(database)
    deadline = time.monotonic() + 20
    while alive(process.pid):
        assert time.monotonic() < deadline, "the workers didn't notice"
        time.sleep(0.1)
    assert 0 < len(kept) < 48
    assert command.main(["run", "--db", str(database), "--resume", "-j2"]) == 0
    now = rows(database)
    assert len(now) == 48
    assert kept.items() <= now.items(), "what was known was run again"


def rows(database: Path) -> dict[str, int]:
    """The rows' numbers by key: a case that is run again gets another one."""
    if not database.exists():
        return {}
    with contextlib.closing(sqlite3.connect(database)) as connection:
        try:
            return dict(connection.execute("SELECT key, rowid FROM results"))
        except sqlite3.OperationalError:
            return {}


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_only_the_checks_that_are_asked_for_are_made(sources: Path) -> None:
    first, *_ = cases_of([str(sources)], [("-O2",)], ("slots",))
    outcome = case.run(first)
    assert (outcome.verdict, outcome.nops) == ("rewritten", 2)


def test_corpora_are_known_by_the_names_of_gccs_testsuite() -> None:
    try:
        corpus_sources.suite_folder()
    except corpus_sources.NoSources as missing:
        pytest.skip(str(missing))
    assert sources_by_name("gcc.c-torture") == (
        sources_by_name("gcc.c-torture/execute") | sources_by_name("gcc.c-torture/compile")
    )
    assert sources_by_name("g++.dg/eh") < sources_by_name("g++.dg")
    assert sources_by_name("gcc.c-torture/execute/pr92904.c") == {"gcc.c-torture/execute/pr92904.c"}


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("-fpeel-loops --param max-unroll=4 -g -O2", ("-fpeel-loops", "--param", "max-unroll=4")),
        ("-G 0 -msdata", ("-G", "0", "-msdata")),
        ("-x c++ -o f.o -mvsx", ("-x", "c++", "-mvsx")),
    ],
)
def test_a_test_gets_its_own_flags_with_their_arguments(asked: str, given: tuple[str, ...]) -> None:
    assert plan.test_flags(f'/* {{ dg-options "{asked}" }} */') == given


def sources_by_name(corpus: str) -> set[str]:
    return {one.name for name in corpus_sources.expanded(corpus) for one in plan.sources_of(name)}


def fake(one: Case, verdict: str) -> Result:
    return pool.died(one)._replace(verdict=verdict)


def deadly(cases: Sequence[Case]) -> list[Result]:
    """Work that one of the cases doesn't survive."""
    for one in cases:
        if one.name.endswith("07.c"):
            os.kill(os.getpid(), signal.SIGKILL)
    return [fake(one, "equal") for one in cases]


def test_a_case_that_kills_its_worker_costs_only_itself(sources: Path) -> None:
    cases = cases_of([str(sources)], [("-O2",), ("-Os",)], ("oracle",))
    results = list(pool.run_local(cases, 2, deadly))
    assert len(results) == len(cases) == len({one.key for one in results})
    crashed = {one.source for one in results if one.verdict == "crashed"}
    assert {Path(name).name for name in crashed} == {"07.c"}


def test_where_no_worker_can_be_made_the_message_names_what_to_mount(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_shared_memory(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(pool, "ProcessPoolExecutor", without_shared_memory)
    cases = cases_of([str(sources)], [("-O2",)], ("oracle",))
    with pytest.raises(toolchain.ToolError, match="Permission denied; mount /dev/shm"):
        list(pool.run_local(cases, 2))


@contextlib.contextmanager
def started(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    # This folder too: workers import `deadly` from here.
    folders = (str(TOP), str(Path(__file__).parent), os.environ.get("PYTHONPATH", ""))
    path = os.pathsep.join(folders)
    with subprocess.Popen(
        [sys.executable, "-m", *arguments], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": path, **environment},
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()


def scheduler_address(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"Scheduler at:\s+(tcp://\S+)", line):
            return found.group(1)
    raise AssertionError("the scheduler said no address")


HOST = ("--host", "127.0.0.1", "--no-dashboard")


def worker(address: str, folder: Path, nanny: str) -> tuple[str, ...]:
    options = ("--nthreads", "1", nanny, "--local-directory", str(folder))
    return ("distributed.cli.dask_worker", address, *HOST, *options)


def test_a_cluster_that_loses_a_worker_loses_no_case(sources: Path, tmp_path: Path) -> None:
    cases = cases_of([str(sources)], [("-O2",), ("-Os",)], ("oracle",))
    with started("distributed.cli.dask_scheduler", *HOST, "--port", "0") as head:
        address = scheduler_address(head)
        made = worker(address, tmp_path, "--no-nanny")
        with started(*made) as first, started(*made):
            results = []
            for one in pool.run_on_cluster(cases, address):
                results.append(one)
                if len(results) == len(cases) // 2:
                    first.send_signal(signal.SIGKILL)
                    first.wait()
            assert first.returncode == -signal.SIGKILL
    assert sorted(one.key for one in results) == sorted(case.key(one) for one in cases)
    assert {one.verdict for one in results} == {"equal"}


def of_another_version(cases: Sequence[Case]) -> list[Result]:
    return [fake(one, "equal")._replace(key="another", nopfix="another") for one in cases]


def test_on_a_cluster_too_a_case_that_kills_its_worker_costs_only_itself(
    sources: Path, tmp_path: Path
) -> None:
    cases = cases_of([str(sources)], [("-O2",)], ("oracle",))
    settings = {
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
        # A worker that a loaded machine loses is a failure, and not a wait without end.
        "DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT": "2 minutes",
    }
    with started("distributed.cli.dask_scheduler", *HOST, "--port", "0", **settings) as head:
        address = scheduler_address(head)
        with started(*worker(address, tmp_path, "--nanny")):
            results = list(pool.run_on_cluster(cases, address, deadly))
            with pytest.raises(toolchain.ToolError, match="another nopfix"):
                list(pool.run_on_cluster(cases[:1], address, of_another_version))
    assert sorted(one.key for one in results) == sorted(case.key(one) for one in cases)
    crashed = {Path(one.source).name for one in results if one.verdict == "crashed"}
    assert crashed == {"07.c"}


def test_ready_made_objects_are_rewritten_and_their_slots_counted(
    sources: Path, tmp_path: Path
) -> None:
    objects = tmp_path / "objects"
    objects.mkdir()
    compiler = toolchain.compiler(toolchain.Tools("gcc-12"))
    source = str(sources / "00.c")
    toolchain.run([*compiler, "-O2", "-c", source, "-o", str(objects / "a.o")])
    (one,) = cases_of([str(objects)], [("-O2",)], ("oracle",))
    assert (one.tools.compiler, one.checks) == ("", ("verify", "slots"))
    outcome = case.run(one)
    assert (outcome.verdict, outcome.nops) == ("rewritten", 2)


def test_a_time_limit_ends_a_case_in_any_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case, "TIMEOUT_SECONDS", 1)
    monkeypatch.setattr(case, "_run_in", forever)
    one = Case("c", "x.o", __file__, toolchain.Tools(""), (), ("slots",))
    found = [case.run(one)]
    thread = threading.Thread(target=lambda: found.append(case.run(one)))
    thread.start()
    thread.join()
    assert [result.detail for result in found] == ["no end after 1 s"] * 2


def forever(*_: object) -> None:
    while True:
        pass


def test_without_creduce_reduce_says_so(
    sources: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = sources / "01.c"
    monkeypatch.setattr(case, "run", lambda one: fake(one, "differs"))
    real = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "creduce" else real(name))
    assert command.main(["reduce", str(source), "--db", str(tmp_path / "none.db")]) == 2
    assert "apt install creduce" in capsys.readouterr().out


def test_a_case_that_passes_is_not_reduced(
    sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["reduce", str(sources / "01.c"), "--db", str(tmp_path / "none.db")]
    assert command.main(arguments) == 1
    assert "nothing to reduce" in capsys.readouterr().out


def test_reduce_takes_the_failing_case_from_the_results(sources: Path) -> None:
    source = str(sources / "01.c")
    cases = cases_of([str(sources)], [("-O2",), ("-Os", "-g")], ("oracle", "qemu"))
    bad = [one for one in cases if one.name == source and one.flags == ("-Os", "-g")]
    results = [fake(one, "differs" if one in bad else "equal") for one in cases]
    assert [reduce.find(source, reduce.Asked(), results)] == bad


def test_a_failure_is_known_by_its_kind_and_not_by_its_place(sources: Path) -> None:
    (one,) = cases_of([str(sources / "01.c")], [("-O2",)], ("oracle",))
    refused = fake(one, "refused")._replace(detail="f.o: .text+0x10 (in 'f'): 12 things")
    assert reduce.failure(refused) == "refused: f.o: .text+N (in N): N things"


def test_a_difference_is_known_by_its_section(sources: Path) -> None:
    (one,) = cases_of([str(sources / "01.c")], [("-O2",)], ("oracle",))
    detail = "[4] .eh_frame+0x7c: got 7e023f0a 0e004406, want 7e7f0a0e 00440641 (23 bytes differ)"
    assert reduce.failure(fake(one, "differs")._replace(detail=detail)) == (
        "differs: [N] .eh_frame+N"
    )


@pytest.mark.parametrize(
    ("status", "behaviour"), [(toolchain.TIMEOUT, "no-end"), (3, "fails"), (0, "same")]
)
def test_what_a_program_does_untouched_says_what_can_be_told(
    status: int, behaviour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "link", lambda *_, **__: "")
    outcome = execution.Outcome(status, b"")
    monkeypatch.setattr(execution, "execute", lambda *_, **__: outcome)
    found = execution.same_behaviour(tmp_path / "plain.o", tmp_path / "got.o")
    assert found.verdict == behaviour
