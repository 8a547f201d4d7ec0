"""Put files in place, each whole or not at all.

The problem: a build that is interrupted must never find half an object under the object's name, and
a report or a .dwo file that can't be written must not leave a new object beside an old one.
The rule: write a temporary file in the same folder as each, flush it to the disk, and only when all
are there rename them over the old ones (POSIX.1-2017, rename: atomic for whoever looks); remove the
temporaries on the way out of any failure, a keyboard interrupt included.

A file that is replaced stays its owner's, as strip and objcopy leave it.  Where it can't, or where
there was none, it doesn't get the set-user-ID bits: they would lend another's rights.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class File(NamedTuple):
    """A file's ``path``, what is to be in it, and its permission bits ``mode``."""

    path: str
    data: bytes
    mode: int


def replace(path: str, data: bytes, mode: int, *, durable: bool = True) -> None:
    """`replace_all` for one file."""
    replace_all([File(path, data, mode)], durable=durable)


def replace_all(files: Iterable[File], *, durable: bool = True) -> None:
    """Give every file its new contents, in this order, once all of them have been written.

    Without ``durable`` the disk may take its time: whoever looks still finds a whole file, but a
    power failure may lose it, as it may lose what a compiler has just written.
    A symbolic link stays, what it points to is replaced.  A device, such as /dev/null, is written
    to, before anything is put in place.  Raises OSError and leaves the files as they were when one
    can't be written.
    """
    temporaries: list[tuple[str, str]] = []
    try:
        for path, data, mode in files:
            target = os.path.realpath(path)
            if os.path.exists(target) and not os.path.isfile(target):
                with open(target, "wb") as device:
                    device.write(data)
                continue
            folder, name = os.path.split(target)
            unique = f"{os.getpid()}.{os.urandom(4).hex()}"
            temporary = os.path.join(folder, f".{name[:200]}.{unique}.nopfix")
            # Noted before it is there: an interrupt may come at any moment.
            temporaries.append((temporary, target))
            _write(temporary, target, data, mode, durable)
        for temporary, target in temporaries:
            os.rename(temporary, target)
    except BaseException:
        for temporary, _ in temporaries:
            _remove(temporary)
        raise


def _write(path: str, target: str, data: bytes, mode: int, durable: bool) -> None:
    """Make the new file ``path``, which is to stand for ``target``."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        mode &= 0o7777 if _is_owners(descriptor, target) else 0o777
        os.fchmod(descriptor, mode)
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_owners(descriptor: int, target: str) -> bool:
    """Whether the file that is open belongs to the owner and group of ``target``, maybe now."""
    try:
        old, new = os.stat(target), os.fstat(descriptor)
        if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
            os.fchown(descriptor, old.st_uid, old.st_gid)
    except OSError:
        return False
    return True


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:  # contextlib.suppress() would cost an import of 4 ms
        return
