"""Tools that live in another system's folder: a chroot in which this system's files are seen.

A root is a folder with a whole system in it, another release with its own compilers (corpus.roots
makes such).  A command runs there by ``chroot``, so the files that it works on must lie at the same
paths within.  They are shown there by bind mounts in a mount namespace of this process and its
children: nothing of it is seen elsewhere, and nothing is left when the processes have ended, so a
root can be deleted at any time without a thought of what is mounted in it.

Both need the privileges of root, or those that ``unshare --map-root-user`` gives to anybody.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Where Debian and others keep programs; a root's own PATH isn't known.
_PROGRAMS = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
#: What programs need of the running system, and where cases are run.
_ALWAYS = ("/dev", "/proc")
#: <linux/sched.h>, <linux/mount.h>
_CLONE_NEWNS = 0x20000
_MS_REC, _MS_SLAVE = 0x4000, 1 << 19

#: The mount namespaces that this process has made for itself.
_own: set[str] = set()


class RootError(Exception):
    """A root can't be used; the text says why and what helps."""


def which(program: str, root: str) -> str | None:
    """Return where `program` is in `root` ("": this system), as a path within it."""
    if not root:
        return shutil.which(program)
    if "/" in program:
        return program if os.access(Path(root, program.lstrip("/")), os.X_OK) else None
    for folder in _PROGRAMS.split(":"):
        if _is_program(root, f"{folder}/{program}"):
            return f"{folder}/{program}"
    return None


def _is_program(root: str, path: str) -> bool:
    """Say whether there is a program; symbolic links are followed within the root."""
    for _ in range(40):
        place = Path(root, path.lstrip("/"))
        if not place.is_symlink():
            return place.is_file() and os.access(place, os.X_OK)
        path = os.path.normpath(Path(path).parent / place.readlink())
    return False


def inside(root: str, command: Sequence[str], folder: Path | str = "/") -> list[str]:
    """Return what runs `command` in `root`, in `folder`, which has to be seen there: the current
    one need not be.

    Raises RootError where there is no chroot program.
    """
    if not root:
        return list(command)
    chroot = shutil.which("chroot", path=os.pathsep.join((os.environ.get("PATH", ""), _PROGRAMS)))
    if chroot is None:
        raise RootError("chroot: not installed")
    return [chroot, root, "env", "-C", str(folder), *command]


def show(root: str, folders: Iterable[Path | str] = ()) -> None:
    """Let `folders`, the folder for temporary files, /dev and /proc be seen in `root`.

    What is seen there already, because somebody has mounted it for good, is left as it is.  Holds
    for this process (its calling thread) and the children that it begins from then on.

    Raises RootError.
    """
    if not root:
        return
    if not Path(root).is_dir():
        raise RootError(f"{root}: no such folder")
    wanted = dict.fromkeys(
        str(Path(one).resolve()) for one in (*_ALWAYS, tempfile.gettempdir(), *folders)
    )
    for folder in wanted:
        if not _is_seen(root, folder):
            _own_namespace()
            _bind(root, folder)


def _is_seen(root: str, folder: str) -> bool:
    try:
        return Path(root + folder).samefile(folder)
    except OSError:
        return False


def _namespace() -> str:
    return os.readlink("/proc/thread-self/ns/mnt")


def _own_namespace() -> None:
    """Have a mount namespace of our own from here on.  Raises RootError."""
    if _namespace() in _own:
        return
    if os.geteuid():
        raise RootError(
            "--root needs to be root, for chroot and bind mounts; without: "
            "unshare --map-root-user nopfix-corpus ..."
        )
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS):
        raise RootError(
            f"no mount namespace can be made: {os.strerror(ctypes.get_errno())}; a container needs "
            "--cap-add=SYS_ADMIN for --root"
        )
    # What is mounted elsewhere from now on is seen here too, and not the other way round.
    if libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_SLAVE), None):
        raise RootError(f"mount: {os.strerror(ctypes.get_errno())}")
    _own.add(_namespace())


def _bind(root: str, folder: str) -> None:
    try:
        Path(root + folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RootError(f"{folder} can't be shown in {root}: {error.strerror}") from error
    command = ["mount", "--bind", folder, root + folder]
    if folder in _ALWAYS:
        command[1] = "--rbind"
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RootError(f"{folder} can't be shown in {root}: {done.stderr.strip()}")
