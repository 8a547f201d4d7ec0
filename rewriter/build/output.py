"""Put files in place, each whole or not at all.

The problem: a build that is interrupted must never find half an object under the object's name, and
a report or a .dwo file that can't be written must not leave a new object beside an old one.
The rule: write a temporary file in the same folder as each, flush it to the disk, and only when all
are there rename them over the old ones (POSIX.1-2017, rename: atomic for whoever looks); remove the
temporaries on the way out of any failure, a keyboard interrupt included.

A new file under an old name is a new file: it would be its writer's, and the old one's other names
(hard links) would go on naming the old contents.  So it gets the owner, the group and the mode of
the one that it replaces, as strip(1) leaves them; a set-user-ID or set-group-ID bit stays only
where what it refers to does, so that nobody's program becomes root's.  Links can't be kept by who
renames; the caller is told of them.

Source: chown(2), on the set-ID bits of who isn't privileged; binutils, rename.c (`smart_rename`).
"""

from __future__ import annotations

import os
import stat

from nopfix.dwarf.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterable


class File(Record):
    """A file's ``path``, what is to be in it, and its permission bits ``mode``.

    Of ``mode`` the set-ID bits count only where the file that is replaced has them as well.
    """

    path: str
    data: bytes
    mode: int


def replace(path: str, data: bytes, mode: int, *, durable: bool = True) -> list[str]:
    """`replace_all` for one file."""
    return replace_all([File(path, data, mode)], durable=durable)


def replace_all(files: Iterable[File], *, durable: bool = True) -> list[str]:
    """Give every file its new contents, in this order, once all of them have been written.

    Without ``durable`` the disk may take its time: whoever looks still finds a whole file, but a
    power failure may lose it, as it may lose what a compiler has just written.
    A symbolic link stays, what it points to is replaced.  A device, such as /dev/null, is written
    to, before anything is put in place.  Returns a line for each thing that couldn't stay as it
    was: owners, set-ID bits, other names.  Raises OSError and leaves the files as they were when
    one can't be written.
    """
    temporaries: list[tuple[str, str]] = []
    lost: list[str] = []
    try:
        for path, data, mode in files:
            target = os.path.realpath(path)
            old = _status(target)
            if old is not None and not stat.S_ISREG(old.st_mode):
                with open(target, "wb") as device:
                    device.write(data)
                continue
            folder, name = os.path.split(target)
            unique = f"{os.getpid()}.{os.urandom(4).hex()}"
            temporary = os.path.join(folder, f".{name[:200]}.{unique}.nopfix")
            # Noted before it is there: an interrupt may come at any moment.
            temporaries.append((temporary, target))
            lost += [f"{path}: {what}" for what in _write(temporary, data, mode, durable, old)]
        for temporary, target in temporaries:
            os.rename(temporary, target)
    except BaseException:
        for temporary, _ in temporaries:
            _remove(temporary)
        raise
    return lost


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _write(
    path: str, data: bytes, mode: int, durable: bool, old: os.stat_result | None
) -> list[str]:
    """Make the new file ``path``, which is to replace ``old``; returns what can't be kept of it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        mode, lost = _give(descriptor, mode & 0o7777, old)
        os.fchmod(descriptor, mode)  # behind the change of owner, which clears the set-ID bits
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return lost


def _give(descriptor: int, mode: int, old: os.stat_result | None) -> tuple[int, list[str]]:
    """Give the new file to ``old``'s owner and group, as far as this process may.

    Returns the mode that is right for who owns it now, and what can't be kept.
    """
    set_id = mode & (stat.S_ISUID | stat.S_ISGID)
    if old is None:
        return mode & ~set_id, []
    owners = old.st_uid, old.st_gid
    new = os.fstat(descriptor)
    for user in (old.st_uid, -1):  # the group alone is more people's to give
        if (new.st_uid, new.st_gid) != owners:
            new = _change_owner(descriptor, user, old.st_gid)
    kept = set_id & old.st_mode
    lost = []
    if (new.st_uid, new.st_gid) != owners:
        lost.append(f"was {owners[0]}:{owners[1]}'s, is {new.st_uid}:{new.st_gid}'s now")
        if new.st_uid != old.st_uid:
            kept &= ~stat.S_ISUID
        if new.st_gid != old.st_gid:
            kept &= ~stat.S_ISGID
    if set_id & old.st_mode & ~kept:
        lost.append("a set-ID bit is dropped with the owner that it stood for")
    if old.st_nlink > 1:
        others = "name keeps" if old.st_nlink == 2 else "names keep"
        lost.append(f"{old.st_nlink - 1} other {others} the old contents (hard links)")
    return mode & ~set_id | kept, lost


def _change_owner(descriptor: int, user: int, group: int) -> os.stat_result:
    """The file's status behind the attempt: not everybody may, and not every file system can."""
    try:
        os.fchown(descriptor, user, group)
    except OSError:  # contextlib.suppress() would cost an import of 4 ms
        return os.fstat(descriptor)
    return os.fstat(descriptor)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:  # contextlib.suppress() would cost an import of 4 ms
        return
