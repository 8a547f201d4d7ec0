"""What the compiler wrapper asks of `nopfix-serve`: rewrite this object.

The problem: of the wrapper's own time two thirds go into starting to rewrite, not into rewriting
(`build.server`).  The rule: where $NOPFIX_SERVER names a socket, the wrapper sends the object's
path there and prints what comes back.  Where nobody of this user answers, where the other side
isn't sure that it sees the same object with the same nopfix, or where it couldn't do it, the
wrapper does the work itself, and says itself why it can't be done.

The request is a list of fields that no NUL byte can be in, and ends with two; the answer is one
byte and the warnings to print, and ends where the other side closes.  Who closes the own side
before takes the request back, and has the object to itself when the other side has closed too.

Source: unix(7).
"""

from __future__ import annotations

import os
import sys
from _socket import (  # the wrapper can't afford `socket`
    AF_UNIX,
    SHUT_WR,
    SO_PEERCRED,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SERVER = "NOPFIX_SERVER"
"""The environment variable that names the server's socket."""

SETTINGS = (
    "NOPFIX_SKIP",
    "NOPFIX_SIBLING_CALLS",
    "NOPFIX_VERIFY",
    "NOPFIX_LEAVE_UNPROVED",
    "NOPFIX_REPORT",
)
"""The environment variables that change what is done to an object."""

DONE, NOT_DONE = b"+", b"-"
END = b"\0\0"
_LONGEST_WAIT = 0.5  # seconds for a worker to drop what it does
_CREDENTIALS = 12  # bytes of a struct ucred: process, user and group


def ask(server: str, path: str, only_compiled: bool) -> bool:
    """Have the server at socket ``server`` rewrite the object ``path``.

    The first two arguments of `objects_in_place.rewrite`.  Returns False when the object still has
    to be rewritten.  An exception that a signal raises while the server works is raised when it has
    let go of the object, which is soon.
    """
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        request = _request(path, only_compiled)
        connection.connect(server)
        if not _is_own(connection):
            return False
        connection.sendall(request)
        answer = receive(connection)
    except OSError:
        return False
    except BaseException:
        _take_back(connection)
        raise
    finally:
        connection.close()
    if len(answer) > 1:
        from nopfix.rewriter.errors import complain

        for line in os.fsdecode(answer[1:]).split("\n"):
            complain(line)
    return answer[:1] == DONE


def _is_own(connection: socket) -> bool:
    """Whether it is this user who listens: the folder may have been another's since."""
    credentials = connection.getsockopt(SOL_SOCKET, SO_PEERCRED, _CREDENTIALS)
    return int.from_bytes(credentials[4:8], sys.byteorder) == os.geteuid()


def _take_back(connection: socket) -> None:
    """Take the request back, and wait until the other side is done with it.

    Not for long: where nobody has got to the request yet, whoever does finds it taken back.
    """
    try:
        connection.settimeout(_LONGEST_WAIT)
        connection.shutdown(SHUT_WR)
    except OSError:
        return  # it never came to a connection
    receive(connection)


def receive(connection: socket, end: bytes = b"") -> bytes:
    """Everything that the other side sends, up to ``end`` where there is one.

    A side that breaks off has sent nothing.
    """
    received = b""
    try:
        while part := connection.recv(1 << 16):
            received += part
            if end and received.endswith(end):
                return received
    except OSError:
        return b""
    return b"" if end else received


def _request(path: str, only_compiled: bool) -> bytes:
    settings = [f"{name}={os.environ[name]}" for name in SETTINGS if name in os.environ]
    kind = "compiled" if only_compiled else "any"
    fields = [nopfix(), os.getcwd(), path, identity(path), kind, *settings]
    return os.fsencode("\0".join(fields)) + END


def read(request: bytes) -> tuple[str, str, str, bool, Mapping[str, str]] | None:
    """What a request says: folder, path, identity, ``only_compiled`` and settings.

    None for a request by another nopfix or interpreter, or for half of one.  Whether the path names
    the same object here, seen from that folder, is for the caller to find out.
    """
    version, *fields = os.fsdecode(request.removesuffix(END)).split("\0")
    if version != nopfix() or len(fields) < 4:
        return None
    folder, path, known_by, kind, *settings = fields
    pairs = (setting.partition("=") for setting in settings)
    return folder, path, known_by, kind == "compiled", {name: value for name, _, value in pairs}


def identity(path: str) -> str:
    """What tells the object at ``path`` from all others on this machine.  Raises OSError."""
    status = os.stat(path)
    return f"{status.st_dev} {status.st_ino} {status.st_mtime_ns}"


def nopfix() -> str:
    """What both sides have to have in common: this very file, and the interpreter's version."""
    return f"{identity(__file__)} {sys.version}"
