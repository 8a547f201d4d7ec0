"""What the compiler wrapper asks of `nopfix-serve`: rewrite this object.

The problem: of the wrapper's own time two thirds go into starting to rewrite, not into rewriting
(`rewriter.server`).  The rule: where $NOPFIX_SERVER names a socket, the wrapper sends the object's
path there and prints what comes back.  Where nobody answers, or the other side isn't sure that it
sees the same object with the same nopfix, the wrapper does the work itself.

The request is a list of fields that no NUL byte can be in; the answer is one byte and the lines to
print.  Each ends where the sender closes its side.

Source: unix(7).
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, SHUT_WR, SOCK_STREAM, socket  # the wrapper can't afford `socket`

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SERVER = "NOPFIX_SERVER"
"""The environment variable that names the server's socket."""

SETTINGS = ("NOPFIX_SKIP", "NOPFIX_SIBLING_CALLS")
"""The environment variables that change what is done to an object."""

DONE, REFUSED, NOT_MINE = b"+", b"-", b"?"


def ask(server: str, path: str, only_compiled: bool) -> bool | None:
    """Have the server at socket ``server`` rewrite the object ``path``.

    Arguments and value are those of `objects_in_place.rewrite`; None when the object is as it was
    and the caller has to do it.  An exception that a signal raises while the server works is raised
    when it has answered, so that the object is the caller's again.
    """
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        request = _request(path, only_compiled)
        connection.connect(server)
        connection.sendall(request)
        connection.shutdown(SHUT_WR)
        answer = receive(connection)
    except OSError:
        return None
    except BaseException:
        _wait_for_end(connection)
        raise
    finally:
        connection.close()
    if answer[:1] not in (DONE, REFUSED):
        return None
    if len(answer) > 1:
        from rewriter.errors import complain

        for line in os.fsdecode(answer[1:]).split("\n"):
            complain(line)
    return answer[:1] == DONE


def _wait_for_end(connection: socket) -> None:
    """Wait until the other side is done, whatever it has heard."""
    try:
        connection.shutdown(SHUT_WR)
    except OSError:
        return  # it never came to a connection
    receive(connection)


def receive(connection: socket) -> bytes:
    """Everything that the other side sends.  A side that breaks off has sent nothing."""
    received = b""
    try:
        while part := connection.recv(1 << 16):
            received += part
    except OSError:
        return b""
    return received


def _request(path: str, only_compiled: bool) -> bytes:
    settings = [f"{name}={os.environ[name]}" for name in SETTINGS if name in os.environ]
    kind = "compiled" if only_compiled else "any"
    fields = [_package(), os.getcwd(), path, identity(path), kind, *settings]
    return os.fsencode("\0".join(fields))


def read(request: bytes) -> tuple[str, str, str, bool, Mapping[str, str]] | None:
    """What a request says: folder, path, identity, ``only_compiled`` and settings.

    None for a request by another nopfix.  Whether the path names the same object here, seen from
    that folder, is for the caller to find out.
    """
    package, *fields = os.fsdecode(request).split("\0")
    if package != _package() or len(fields) < 4:
        return None
    folder, path, known_by, kind, *settings = fields
    pairs = (setting.partition("=") for setting in settings)
    return folder, path, known_by, kind == "compiled", {name: value for name, _, value in pairs}


def identity(path: str) -> str:
    """What tells the object at ``path`` from all others on this machine.  Raises OSError."""
    status = os.stat(path)
    return f"{status.st_dev} {status.st_ino} {status.st_mtime_ns}"


def _package() -> str:
    return os.path.dirname(os.path.abspath(__file__))
