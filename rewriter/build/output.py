"""Put files in place, each whole or not at all.

The problem: a build that is interrupted must never find half an object under the object's name, and
a report or a .dwo file that can't be written must not leave a new object beside an old one.
The rule: write a temporary file in the same folder as each, flush it to the disk, and only when all
are there rename them over the old ones (POSIX.1-2017, rename: atomic for whoever looks); remove the
temporaries on the way out of any failure, a keyboard interrupt included.

What is no regular file is written to: a device, a pipe, a descriptor of this process that stands
for one (/dev/stdout, a shell's ``>(...)``), of which /proc makes a link that leads to no file.

A new file under an old name is a new file: it would be its writer's, and the old one's other names
(hard links) would go on naming the old contents.  So it gets the owner, the group and the mode of
the one that it replaces, as strip(1) leaves them; a set-user-ID or set-group-ID bit stays only
where what it refers to does, so that nobody's program becomes root's.  Links can't be kept by who
renames; the caller is told of them.

System calls are taken from `posix`, which is what `os` has them from: a process that rewrites one
object would load `os` for nothing else, and that takes a quarter of the interpreter's own start.

Source: chown(2), on the set-ID bits of who isn't privileged; binutils, rename.c (`smart_rename`).
"""

from __future__ import annotations

import posix
from _stat import S_ISGID, S_ISLNK, S_ISREG, S_ISUID

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
    was: owners, set-ID bits, other names.  Raises OSError, which names the file of that name and no
    temporary, and leaves the files as they were when one can't be written.
    """
    temporaries: list[tuple[str, str]] = []
    lost: list[str] = []
    path = ""
    try:
        for path, data, mode in files:
            old = _status(path)
            target = _behind_links(path)
            is_there = target == path or old is None or _is_same(old, target)
            if old is not None and not (S_ISREG(old.st_mode) and is_there):
                with open(path, "wb") as device:
                    device.write(data)
                continue
            folder, slash, name = target.rpartition("/")
            unique = f"{posix.getpid()}.{posix.urandom(4).hex()}"
            # A name may have 255 bytes, and a character four.
            temporary = f"{folder}{slash}.{name[:50]}.{unique}.nopfix"
            # Noted before it is there: an interrupt may come at any moment.
            temporaries.append((temporary, target))
            lost += [f"{path}: {what}" for what in _write(temporary, data, mode, durable, old)]
        for temporary, target in temporaries:
            path = target
            posix.rename(temporary, target)
    except BaseException as error:
        for temporary, _ in temporaries:
            _remove(temporary)
        if isinstance(error, OSError):
            error.filename, error.filename2 = path, None
        raise
    return lost


def _behind_links(path: str) -> str:
    """What ``path`` leads to: itself where its last part isn't a symbolic link."""
    try:
        is_link = S_ISLNK(posix.lstat(path).st_mode)
    except OSError:  # nothing there, or nothing that can be looked at: whoever writes is told
        return path
    if not is_link:
        return path
    import os

    return os.path.realpath(path)


def _status(path: str) -> posix.stat_result | None:
    try:
        return posix.stat(path)
    except FileNotFoundError:
        return None


def _is_same(status: posix.stat_result, path: str) -> bool:
    """Whether ``path`` leads to the file with this status: a file that was removed has no path."""
    other = _status(path)
    return other is not None and (other.st_dev, other.st_ino) == (status.st_dev, status.st_ino)


def _write(
    path: str, data: bytes, mode: int, durable: bool, old: posix.stat_result | None
) -> list[str]:
    """Make the new file ``path``, which is to replace ``old``; returns what can't be kept of it."""
    anew = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC
    descriptor = posix.open(path, anew, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[posix.write(descriptor, view) :]
        mode, lost = _give(descriptor, mode & 0o7777, old)
        posix.fchmod(descriptor, mode)  # behind the change of owner, which clears the set-ID bits
        if durable:
            posix.fsync(descriptor)
    finally:
        posix.close(descriptor)
    return lost


def _give(descriptor: int, mode: int, old: posix.stat_result | None) -> tuple[int, list[str]]:
    """Give the new file to ``old``'s owner and group, as far as this process may.

    Returns the mode that is right for who owns it now, and what can't be kept.
    """
    set_id = mode & (S_ISUID | S_ISGID)
    if old is None:
        return mode & ~set_id, []
    owners = old.st_uid, old.st_gid
    new = posix.fstat(descriptor)
    for user in (old.st_uid, -1):  # the group alone is more people's to give
        if (new.st_uid, new.st_gid) != owners:
            new = _change_owner(descriptor, user, old.st_gid)
    kept = set_id & old.st_mode
    lost = []
    if (new.st_uid, new.st_gid) != owners:
        lost.append(f"was {owners[0]}:{owners[1]}'s, is {new.st_uid}:{new.st_gid}'s now")
        if new.st_uid != old.st_uid:
            kept &= ~S_ISUID
        if new.st_gid != old.st_gid:
            kept &= ~S_ISGID
    if set_id & old.st_mode & ~kept:
        lost.append("a set-ID bit is dropped with the owner that it stood for")
    if old.st_nlink > 1:
        others = "name keeps" if old.st_nlink == 2 else "names keep"
        lost.append(f"{old.st_nlink - 1} other {others} the old contents (hard links)")
    return mode & ~set_id | kept, lost


def _change_owner(descriptor: int, user: int, group: int) -> posix.stat_result:
    """The file's status behind the attempt: not everybody may, and not every file system can."""
    try:
        posix.fchown(descriptor, user, group)
    except OSError:  # contextlib.suppress() would cost an import of 4 ms
        return posix.fstat(descriptor)
    return posix.fstat(descriptor)


def _remove(path: str) -> None:
    try:
        posix.unlink(path)
    except OSError:  # contextlib.suppress() would cost an import of 4 ms
        return
