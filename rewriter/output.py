"""Put a file in place, whole or not at all.

The problem: a build that is interrupted must never find half an object under the object's name.
The rule: write a temporary file in the same folder, flush it to the disk, rename it over the old
one (POSIX.1-2017, rename: atomic for whoever looks), and remove the temporary on the way out of
any failure, a keyboard interrupt included.
"""

from __future__ import annotations

import os


def replace(path: str, data: bytes, mode: int, *, durable: bool = True) -> None:
    """Make ``data`` the contents of the file ``path``, with the permission bits ``mode``.

    Without ``durable`` the disk may take its time: whoever looks still finds a whole file, but a
    power failure may lose it, as it may lose what a compiler has just written.
    A symbolic link stays, what it points to is replaced.  A device, such as /dev/null, is written
    to.  Raises OSError and leaves ``path`` as it was when that isn't possible.
    """
    target = os.path.realpath(path)
    if os.path.exists(target) and not os.path.isfile(target):
        with open(target, "wb") as device:
            device.write(data)
        return
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name[:200]}.{os.getpid()}.{os.urandom(4).hex()}.nopfix")
    descriptor = -1
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fchmod(descriptor, mode & 0o7777)
        if durable:
            os.fsync(descriptor)
        os.close(descriptor)
        descriptor = -1
        os.rename(temporary, target)
    except BaseException:
        if descriptor >= 0:
            os.close(descriptor)
        _remove(temporary)
        raise


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:  # contextlib.suppress() would cost an import of 4 ms
        return
