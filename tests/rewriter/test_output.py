from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from rewriter import output

if TYPE_CHECKING:
    from pathlib import Path


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

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        output.replace(str(path), b"new", 0o644)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.o"]


def test_an_interrupt_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
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


@pytest.mark.skipif(os.geteuid() != 0, reason="owners can be changed by root only")
def test_a_replaced_file_stays_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "out.o"
    path.write_bytes(b"old")
    os.chown(path, 1000, 1001)
    output.replace(str(path), b"new", 0o104755)
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1000, 1001, 0o4755)


def test_set_user_id_is_lost_where_the_owner_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output.replace(str(tmp_path / "fresh.o"), b"new", 0o106755)
    assert stat.S_IMODE((tmp_path / "fresh.o").stat().st_mode) == 0o755
    if os.geteuid() != 0:
        return
    path = tmp_path / "out.o"
    path.write_bytes(b"old")
    os.chown(path, 1000, 1000)

    def forbidden(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", forbidden)
    output.replace(str(path), b"new", 0o106755)
    status = path.stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (0, 0o755)
