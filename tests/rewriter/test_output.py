from __future__ import annotations

import os
import posix
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nopfix.rewriter.build import output

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_a_replaced_file_has_the_new_bytes_and_the_given_mode(tmp_path: Path) -> None:
    path = tmp_path / "out.o"
    path.write_bytes(b"old")
    output.replace(str(path), b"new", 0o100640)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_no_temporary_stays_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.o"
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(posix, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        output.replace(str(path), b"new", 0o644)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.o"]


def test_an_interrupt_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(posix, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        output.replace(str(tmp_path / "out.o"), b"new", 0o644)
    assert os.listdir(tmp_path) == []


def test_no_file_is_replaced_when_another_cant_be_written(tmp_path: Path) -> None:
    path = tmp_path / "out.o"
    path.write_bytes(b"old")
    other = output.File(str(tmp_path / "nowhere" / "report"), b"new", 0o644)
    with pytest.raises(FileNotFoundError):
        output.replace_all([output.File(str(path), b"new", 0o644), other])
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.o"]


def test_what_a_symbolic_link_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real.o").write_bytes(b"old")
    link = tmp_path / "link.o"
    link.symlink_to("real.o")
    output.replace(str(link), b"new", 0o644)
    assert link.is_symlink()
    assert (tmp_path / "real.o").read_bytes() == b"new"


def test_a_hard_link_keeps_the_old_contents(tmp_path: Path) -> None:
    first, second = tmp_path / "a.o", tmp_path / "b.o"
    first.write_bytes(b"old")
    os.link(first, second)
    output.replace(str(second), b"new", 0o644)
    assert first.read_bytes() == b"old"
    assert second.read_bytes() == b"new"


def test_a_device_is_written_to_and_not_renamed_over() -> None:
    output.replace("/dev/null", b"new", 0o644)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_pipe_that_only_a_link_names_is_written_to() -> None:
    end, begin = os.pipe()
    output.replace(f"/dev/fd/{begin}", b"new", 0o644)
    os.close(begin)
    with open(end, "rb") as stream:
        assert stream.read() == b"new"


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
OTHER = 65534


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A file of another user and another group."""
    path = tmp_path / "out.o"
    path.write_bytes(b"old")
    os.chown(path, OTHER, OTHER - 1)
    return path


def owners(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


@as_root
@pytest.mark.parametrize("mode", [0o600, 0o664, 0o4755, 0o2755, 0o6711, 0o1777])
def test_owner_group_and_mode_stay_where_they_can(theirs: Path, mode: int) -> None:
    theirs.chmod(mode)
    assert output.replace(str(theirs), b"new", mode) == []
    assert owners(theirs) == (OTHER, OTHER - 1, mode)
    assert theirs.read_bytes() == b"new"


def as_user(path: Path, user: int, group: int, mode: int) -> list[str]:
    """What `output.replace` says to a process of ``user`` and ``group`` without privileges."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(group)
            os.setuid(user)
            os.write(write, "\n".join(output.replace(str(path), b"new", mode)).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with open(read) as answer:
        return answer.read().splitlines()


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that everybody may write to and reach."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@as_root
@pytest.mark.parametrize(
    ("user", "group", "mode", "want"),
    [
        (OTHER, OTHER, 0o755, (OTHER, OTHER, 0o755)),
        (OTHER, OTHER, 0o6755, (OTHER, OTHER, 0o755)),
        (OTHER, 0, 0o6755, (OTHER, 0, 0o2755)),
        (0, OTHER, 0o2755, (0, OTHER, 0o755)),
    ],
)
def test_a_set_id_bit_goes_with_the_owner_that_it_stood_for(
    shared: Path, user: int, group: int, mode: int, want: tuple[int, int, int]
) -> None:
    path = shared / "out.o"
    path.write_bytes(b"old")
    path.chmod(mode)  # root's, and root's group's
    if user:
        said = as_user(path, user, group, mode)
    else:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(posix, "fchown", refuse)
            os.chown(path, 0, OTHER - 1)
            path.chmod(mode)
            said = output.replace(str(path), b"new", mode)
            want = (0, 0, want[2])
    assert owners(path) == want
    assert any("'s, is " in line for line in said)
    assert any("set-ID" in line for line in said) == (mode > 0o777)


def refuse(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")


@as_root
def test_a_file_that_is_new_has_no_set_id_bits(tmp_path: Path) -> None:
    path = tmp_path / "out.o"
    assert output.replace(str(path), b"new", 0o6755) == []
    assert owners(path) == (0, 0, 0o755)


@as_root
def test_nobody_elses_set_id_bits_come_over_another_file(theirs: Path) -> None:
    theirs.chmod(0o755)
    output.replace(str(theirs), b"new", 0o6755)
    assert owners(theirs) == (OTHER, OTHER - 1, 0o755)


@pytest.mark.parametrize("links", [1, 3])
def test_other_names_of_the_old_contents_are_told(tmp_path: Path, links: int) -> None:
    path = tmp_path / "out.o"
    path.write_bytes(b"old")
    for number in range(links):
        os.link(path, tmp_path / f"{number}.o")
    (said,) = output.replace(str(path), b"new", 0o644)
    assert said.startswith(f"{path}: {links} other name")
    assert output.replace(str(path), b"newer", 0o644) == []


def test_a_file_that_was_removed_is_written_to_by_its_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "gone.o"
    with path.open("w+b") as file:
        path.unlink()
        output.replace(f"/proc/self/fd/{file.fileno()}", b"new", 0o644)
        assert file.read() == b"new"
    assert os.listdir(tmp_path) == []


def test_an_error_names_the_file_and_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "out.o"
    with pytest.raises(FileNotFoundError) as caught:
        output.replace(str(path), b"new", 0o644)
    assert caught.value.filename == str(path)
