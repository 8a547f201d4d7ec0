"""Several files at once, and standard input and output."""

from __future__ import annotations

import multiprocessing
import os
import pty
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nopfix import rewrite
from nopfix.rewriter import command, many_files, one_file

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

NAMES = ("recursion.o", "dispatch.o", "cleanup.o")
NOPFIX = [sys.executable, "-m", "nopfix.rewriter"]


@pytest.fixture
def files(samples: Path, tmp_path: Path) -> list[Path]:
    """Three objects, the second one's place taken by something that is none."""
    found = [shutil.copy(samples / name, tmp_path / name) for name in NAMES]
    broken = tmp_path / "broken.o"
    broken.write_bytes(b"no object")
    return [found[0], broken, *found[1:]]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_each_file_is_rewritten_and_what_is_refused_stays_with_one_line(
    files: list[Path], capsys: pytest.CaptureFixture[str], jobs: str
) -> None:
    wanted = [rewrite(path.read_bytes()).data for path in (files[0], *files[2:])]
    assert command.main(["--in-place", "-j", jobs, *map(str, files)]) == 1
    assert [path.read_bytes() for path in (files[0], *files[2:])] == wanted
    assert files[1].read_bytes() == b"no object"
    first, *rest = [line for line in capsys.readouterr().err.splitlines() if "warn" not in line]
    assert first.startswith(f"nopfix: {files[1]}: not an ELF file")
    assert rest == ["nopfix: 4 files: 3 rewritten, 1 refused"]


def test_what_needs_nothing_keeps_its_time_and_its_inode(
    files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    good = [str(files[0]), *map(str, files[2:])]
    command.main(["-q", "--in-place", *good])
    before = [(os.stat(path).st_ino, os.stat(path).st_mtime_ns) for path in good]
    capsys.readouterr()
    assert command.main(["--in-place", *good]) == 0
    after = [(os.stat(path).st_ino, os.stat(path).st_mtime_ns) for path in good]
    assert after == before
    assert capsys.readouterr().err.endswith("nopfix: 3 files: 0 rewritten, 3 needed nothing\n")


def test_the_exit_status_is_the_worst(files: list[Path], tmp_path: Path) -> None:
    assert command.main(["-q", "--in-place", str(files[1]), str(tmp_path / "missing.o")]) == 3


def test_where_processes_cant_share_a_lock_one_does_it_all(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a root folder without /dev/shm."""

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("concurrent.futures.ProcessPoolExecutor", refused)
    assert command.main(["-q", "--in-place", "-j", "2", str(files[0]), str(files[2])]) == 0


def test_a_process_that_dies_is_told_and_the_rest_is_counted(
    files: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        multiprocessing.Lock()
    except OSError as error:
        pytest.skip(f"needs processes that can share a lock (/dev/shm): {error}")
    monkeypatch.setattr(many_files, "_one", dies)
    assert command.main(["--in-place", "-j", "2", *map(str, files)]) == 70
    said = capsys.readouterr().err
    assert f"{files[0]}: a process died" in said
    assert said.endswith("1 failed, 3 not reached\n")


def dies(task: argparse.Namespace) -> many_files.Done:
    if task.input.endswith(NAMES[0]):
        os._exit(9)
    return many_files.Done(one_file.Outcome(0), "", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--in-place", "--list", "a.o"],
        ["--in-place", "--report", "r", "a.o", "b.o"],
        ["--in-place", "--dwo", "d", "a.o", "b.o"],
        ["--in-place", "-"],
        ["--in-place", "-j", "0", "a.o"],
        ["a.o", "b.o", "c.o"],
        ["--json", "a.o", "b.o"],
    ],
)
def test_what_makes_no_sense_is_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        command.main(arguments)
    assert exited.value.code == 2


def test_a_terminal_gets_a_bar_that_is_gone_at_the_end(files: list[Path]) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen([*NOPFIX, "--in-place", *map(str, files)], stderr=theirs) as process:
        os.close(theirs)
        said = b""
        try:
            while chunk := os.read(ours, 4096):
                said += chunk
        except OSError:  # the other end is closed
            pass
    os.close(ours)
    assert process.returncode == 1
    text = said.decode()
    assert "[" + "#" * 15 + "." * 15 + "] 2/4" in text
    shown = [re.split(r"\r\x1b\[K", line)[-1] for line in text.split("\r\n")]
    assert not any("[#" in line for line in shown)
    assert shown[-2] == "nopfix: 4 files: 3 rewritten, 1 refused"


def test_standard_input_and_output_stand_for_files(samples: Path) -> None:
    data = (samples / "recursion.o").read_bytes()
    done = subprocess.run([*NOPFIX, "-v", "-", "-"], input=data, capture_output=True, check=True)
    assert done.stdout == rewrite(data).data
    assert b"4 nops inserted" in done.stderr
    listed = subprocess.run([*NOPFIX, "--list", "-"], input=data, capture_output=True, check=True)
    assert b"weigh\tinsert" in listed.stdout
    bad = subprocess.run([*NOPFIX, "-", "-"], input=b"no", capture_output=True, check=False)
    assert (bad.returncode, bad.stdout) == (1, b"")
    assert bad.stderr.startswith(b"nopfix: standard input: not an ELF file")


def test_an_object_that_nobody_reads_is_an_output_error(samples: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [*NOPFIX, str(samples / "recursion.o"), "-"],
            stdout=write, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    finally:
        os.close(write)
    assert done.returncode == 3
    assert done.stderr.count(b"\n") == 1
