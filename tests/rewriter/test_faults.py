"""Whatever goes wrong on the way out, OUT is what it was or the whole result, and nothing is left.

Full disks, folders that can't be written, interrupts and kills at any moment, links, two writers of
one file: each against the command itself.
"""

from __future__ import annotations

import os
import posix
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import nopfix
from nopfix.rewriter import command
from nopfix.rewriter.build import output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START = "import sys; from nopfix.rewriter.command import main; sys.exit(main())"
BEFORE = b"what was there before"
NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def sample(samples: Path, tmp_path: Path) -> Path:
    return shutil.copy(samples / "recursion.o", tmp_path / "in.o")


@pytest.fixture
def result(samples: Path) -> bytes:
    return bytes(nopfix.rewrite((samples / "recursion.o").read_bytes()).data)


def start(*arguments: str | Path, limit: int | None = None) -> subprocess.Popen[bytes]:
    def restrict() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        [sys.executable, "-c", START, "-q", "--sibling-calls=ignore", *map(str, arguments)],
        stderr=subprocess.PIPE, preexec_fn=restrict,
    )  # fmt: skip


def one_line(process: subprocess.Popen[bytes], status: int) -> str:
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status, errors
    assert errors.count(b"\n") == 1
    assert errors.startswith(b"nopfix: ")
    return errors.decode()


@contextmanager
def nobody() -> Iterator[None]:
    """Without root's right to write everywhere."""
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


# Disks and folders


def test_a_file_that_cannot_grow_leaves_the_output_as_it_was(sample: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.o"
    out.write_bytes(BEFORE)
    assert "too large" in one_line(start(sample, out, limit=1000), 3)
    assert out.read_bytes() == BEFORE
    assert sorted(os.listdir(tmp_path)) == ["in.o", "out.o"]


@needs_root
def test_a_full_disk_leaves_the_output_as_it_was(sample: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(disk)]
    if subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("no right to mount")
    try:
        (disk / "out.o").write_bytes(BEFORE)
        (disk / "filler").write_bytes(bytes(4096))
        assert "No space left" in one_line(start(sample, disk / "out.o"), 3)
        assert (disk / "out.o").read_bytes() == BEFORE
        assert sorted(os.listdir(disk)) == ["filler", "out.o"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@needs_root
def test_a_folder_that_cannot_be_written_is_an_output_error(
    samples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # pytest's own folders can't even be entered by others.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        sample, out = folder / "in.o", folder / "out.o"
        shutil.copy(samples / "recursion.o", sample)
        out.write_bytes(BEFORE)
        out.chmod(0o666)
        with nobody():
            assert command.main([str(sample), str(out)]) == 3
        assert "Permission denied" in capsys.readouterr().err
        assert out.read_bytes() == BEFORE
        assert sorted(os.listdir(folder)) == ["in.o", "out.o"]


@pytest.mark.parametrize("report", ["no/report.json", "/dev/full", "."])
def test_a_report_that_cannot_be_written_leaves_the_output_as_it_was(
    report: str, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.o"
    out.write_bytes(BEFORE)
    assert command.main(["--report", str(tmp_path / report), str(sample), str(out)]) == 3
    assert capsys.readouterr().err.count("\n") == 1
    assert out.read_bytes() == BEFORE
    assert sorted(os.listdir(tmp_path)) == ["in.o", "out.o"]


def test_an_output_that_is_a_folder_leaves_no_report_behind(sample: Path, tmp_path: Path) -> None:
    (tmp_path / "out.o").mkdir()
    report = tmp_path / "report.json"
    assert command.main(["--report", str(report), str(sample), str(tmp_path / "out.o")]) == 3
    assert sorted(os.listdir(tmp_path)) == ["in.o", "out.o"]


# Links


@pytest.mark.parametrize("link", [os.link, os.symlink])
@pytest.mark.parametrize("reverse", [False, True])
def test_in_and_out_may_be_links_to_each_other(
    link: Callable[[Path, Path], None], reverse: bool, sample: Path, tmp_path: Path, result: bytes
) -> None:
    old = sample.read_bytes()
    out = tmp_path / "out.o"
    link(sample, out)
    names = (out, sample) if reverse else (sample, out)
    assert command.main(["-q", *map(str, names)]) == 0
    assert names[1].read_bytes() == result
    # A hard link is a second name of the old contents, a symbolic link another name of the file.
    assert names[0].read_bytes() == (old if link is os.link else result)
    assert out.is_symlink() == (link is os.symlink)


def test_the_file_that_a_dangling_link_names_is_made(
    sample: Path, tmp_path: Path, result: bytes
) -> None:
    out = tmp_path / "out.o"
    out.symlink_to("real.o")
    assert command.main(["-q", str(sample), str(out)]) == 0
    assert (tmp_path / "real.o").read_bytes() == result
    assert out.is_symlink()


# Interrupts


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", ["open", "write", "fchmod", "fsync", "close", "rename"])
@pytest.mark.parametrize("number", [0, 1])
def test_an_interrupt_at_any_call_leaves_whole_files_and_no_temporary(
    call: str, after: bool, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [tmp_path / "report", tmp_path / "out.o"]
    for path in names:
        path.write_bytes(BEFORE)
    real, calls = getattr(posix, call), []

    def interrupted(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == number + 1 and not after:
            raise KeyboardInterrupt
        value = real(*arguments)
        if len(calls) == number + 1:
            raise KeyboardInterrupt
        return value

    monkeypatch.setattr(posix, call, interrupted)
    files = [output.File(str(path), b"new", 0o644) for path in names]
    with pytest.raises(KeyboardInterrupt):
        output.replace_all(files)
    monkeypatch.undo()
    assert sorted(os.listdir(tmp_path)) == ["out.o", "report"]
    found = [path.read_bytes() for path in names]
    assert set(found) <= {BEFORE, b"new"}
    # The last file changes only when all the others have.
    assert found[1] == BEFORE or found[0] == b"new"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_at_any_moment_leaves_a_whole_output(
    number: signal.Signals, sample: Path, tmp_path: Path, result: bytes
) -> None:
    out = tmp_path / "out.o"
    begun = time.monotonic()
    assert start(sample, out).wait(60) == 0
    span = time.monotonic() - begun
    delays = random.Random(0)
    endings = set()
    for _ in range(12):
        out.write_bytes(BEFORE)
        process = start(sample, out)
        time.sleep(delays.uniform(0.3, 1.1) * span)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        endings.add(process.returncode)
        assert out.read_bytes() in (BEFORE, result)
        if number == signal.SIGINT:
            assert sorted(os.listdir(tmp_path)) == ["in.o", "out.o"], errors
    assert endings <= ({0, 1, 130, -2} if number == signal.SIGINT else {0, -9})


def test_an_interrupted_command_says_nothing_and_exits_130(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(posix, "fsync", interrupted)
    assert command.main(["-q", str(sample), str(tmp_path / "out.o")]) == 130
    assert capsys.readouterr().err == ""
    assert os.listdir(tmp_path) == ["in.o"]


def test_two_writers_of_one_output_leave_one_of_the_two_results(
    samples: Path, tmp_path: Path
) -> None:
    inputs = [samples / "recursion.o", samples / "dispatch.o"]
    results = {bytes(nopfix.rewrite(path.read_bytes()).data) for path in inputs}
    assert len(results) == 2
    out = tmp_path / "out.o"
    for _ in range(4):
        writers = [start(path, out) for path in inputs * 2]
        while any(writer.poll() is None for writer in writers):
            if out.exists():
                assert out.read_bytes() in results
        assert [writer.wait(60) for writer in writers] == [0] * 4
        assert out.read_bytes() in results
        assert os.listdir(tmp_path) == ["out.o"]
        out.unlink()
