"""``nopfix-serve COMMAND ARGS...``: run a build, with the rewriter loaded beside it.

The problem: the compiler wrapper is a process of its own for each object, and for most objects of a
kernel loading the rewriter takes longer than rewriting.  The rule: processes that have it loaded
wait for requests (`build.request`) while COMMAND runs, one for each processor, and end with it.
The wrapper finds them by $NOPFIX_SERVER, which COMMAND and its children inherit, and does without
where they don't answer; so a build comes out the same with and without.

What a request names is looked at from here: a build that has gone into a root folder of its own may
mean something else by the same path, and it may run another nopfix.  A request says which file it
means and who asks; where that isn't the same here, it is sent back.

A request that is taken back, because the wrapper is to end, is dropped at once, whatever it takes:
the object is as it was, or has been replaced.

COMMAND gets the signals that this process gets; its exit status is passed on.  As a shell does,
this process outlives an interrupt from the terminal, which the command gets as well.

Source: unix(7), credentials(7), fcntl(2) (O_ASYNC); distcc's pump(1), which stands in front of make
in the same way.
"""

from __future__ import annotations

import fcntl
import gc
import os
import select
import shutil
import signal
import socket
import sys
import tempfile

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.build import objects_in_place, request, start
from nopfix.rewriter.build.wrapper import die, end_by_interrupts, not_run
from nopfix.rewriter.errors import INTERNAL_ERROR, complain, internal_error, say

if TYPE_CHECKING:
    from collections.abc import Sequence

_USAGE = """\
usage: nopfix-serve [--report FILE] COMMAND ARGUMENTS...
       nopfix-serve --report FILE

Runs COMMAND, usually make or kpatch-build, with the rewriter loaded beside it, so that the compiler
wrapper needn't load it for every object.  The objects are the same as without.

  --report FILE   keep as JSON what became of each object: slots, refusals, what was left as it is,
                  sibling calls, time; and show a page of it at the end.  Without COMMAND: of what
                  a build without nopfix-serve has left in the folder $NOPFIX_REPORT

examples:
  nopfix-serve make ARCH=powerpc CROSS_COMPILE=/opt/nopfix/nopfix- -j8 vmlinux modules
  nopfix-serve --report build.json kpatch-build fix.patch

exit status: that of COMMAND; 3 the report can't be written; 70 internal error
"""

_PASSED_ON = (signal.SIGHUP, signal.SIGTERM)
_FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
_ENDING = frozenset((*_PASSED_ON, *_FROM_TERMINAL))
_BACKLOG = 1024
_NO_REPORT = 3
_IDLE = 1.0  # seconds between looks at whether the build still runs
_PATIENCE = 10.0  # seconds that a request may take to arrive
_REQUESTS_BETWEEN_COLLECTIONS = 64


def main() -> int:
    """Run the command; returns its exit status."""
    start.open_streams()
    end_by_interrupts()
    command = sys.argv[1:]
    if command[:1] in (["-h"], ["--help"]):
        print(_USAGE, end="")
        return 0
    file = None
    if command and command[0].startswith("--report="):
        file, command = command[0].partition("=")[2], command[1:]
    elif command[:1] == ["--report"]:
        file, command = "".join(command[1:2]), command[2:]
    if command[:1] == ["--"]:
        command = command[1:]
    elif command and command[0].startswith("-"):
        file = ""  # an option that there isn't
    folder = os.environ.get(objects_in_place.REPORT)
    if file == "" or not (command or (file and folder)):
        say(_USAGE)
        return 2
    try:
        if file is None:
            status = _serve(command)
        elif folder:
            status = _reported(os.path.abspath(file), os.path.abspath(folder), command)
        else:
            with tempfile.TemporaryDirectory(prefix="nopfix-report-") as scratch:
                status = _reported(os.path.abspath(file), scratch, command)
    except Exception as error:
        complain(internal_error(error))
        return INTERNAL_ERROR
    if status < 0:
        die(-status)
        return 128 - status
    return status


def _reported(file: str, folder: str, command: Sequence[str]) -> int:
    """Run ``command``, if there is one, and make the report ``file`` of what is in ``folder`` then.

    Returns the command's status, or `_NO_REPORT` where that is 0 and there can't be one.
    """
    from nopfix.rewriter.build import build_report

    os.environ[objects_in_place.REPORT] = folder
    status = _serve(command) if command else 0
    try:
        lines = build_report.write(folder, file)
    except (OSError, ValueError) as error:
        complain(f"no report: {error}")
        return status or _NO_REPORT
    for line in lines:
        say(f"{line}\n")
    return status


def _serve(command: Sequence[str]) -> int:
    """Run ``command`` with the rewriter loaded beside it.

    Returns its exit status, or minus the signal that it died by, which isn't blocked any more.
    """
    # What comes before there is a command to pass it on to ends this process, tidied up.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    folder = ""
    workers: list[int] = []
    environment = dict(os.environ)
    try:
        try:
            folder = tempfile.mkdtemp(prefix="nopfix-serve-")  # for this user alone
            path = os.path.join(folder, "socket")
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
                listening.bind(path)
                listening.listen(_BACKLOG)
                _start_workers(listening, workers)
            environment[request.SERVER] = path
        except OSError as error:
            complain(f"the build runs without a server: {error.strerror or error}")
        heard = {n for n in _ENDING if signal.getsignal(n) != signal.SIG_IGN}
        early = sorted(signal.sigpending() & heard)
        status = -early[0] if early else _run(command, environment, heard, mask)
    finally:
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
            os.waitpid(worker, 0)
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
    if status < 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return status


def _run(
    command: Sequence[str], environment: dict[str, str], heard: set[signal.Signals], mask: set[int]
) -> int:
    """Run ``command`` to its end; returns its status, or minus the signal that it died by.

    ``heard`` are the ending signals that the caller doesn't ignore.  ``mask`` are the signals that
    the command is to have blocked; here those that end are, too.
    """
    child = 0

    def pass_on(number: int, _: object) -> None:
        if child:
            os.kill(child, number)

    # Who ignores it, as the caller may have, can't ask for a child's status.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in heard:
        signal.signal(number, pass_on if number in _PASSED_ON else signal.SIG_IGN)
    own = {signal.SIGPIPE, signal.SIGXFSZ, *heard}
    try:
        child = os.posix_spawnp(
            command[0], list(command), environment, setsigdef=own, setsigmask=mask
        )
    except (OSError, ValueError) as error:
        return not_run(command, error)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    # Not reaped before its number is forgotten: another process may get the number next.
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    ended, child = child, 0
    return os.waitstatus_to_exitcode(os.waitpid(ended, 0)[1])


def _start_workers(listening: socket.socket, workers: list[int]) -> None:
    """Fork a worker for each processor, everything loaded; adds their numbers to ``workers``."""
    _load_everything()
    gc.collect()
    gc.freeze()
    parent = os.getpid()
    for _ in os.sched_getaffinity(0):
        worker = os.fork()
        if not worker:
            try:
                _work(listening, parent)
            finally:
                os._exit(0)
        workers.append(worker)


def _load_everything() -> None:
    """Import what an object may need, which the packages import only where one does."""
    from importlib import import_module
    from pkgutil import walk_packages

    from nopfix import dwarf, rewriter

    for package in (dwarf, rewriter):
        for module in walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(".__main__"):
                import_module(module.name)
    if os.environ.get("NOPFIX_VERIFY") == "1":
        try:
            import_module("nopfix.verifier.check")
        except ModuleNotFoundError:
            return  # each object is refused for it, by name


class _TakenBack(BaseException):
    """Whoever asked has closed the own side of the connection."""


class _Attention:
    """While it is paid, what happens on ``connection`` raises `_TakenBack`.

    Nothing but its end can happen there once the request is complete.
    """

    def __init__(self, connection: socket.socket) -> None:
        """Have the kernel say what happens (SIGIO)."""
        self._connection = connection
        self._paid = False
        signal.signal(signal.SIGIO, self._heard)
        fcntl.fcntl(connection, fcntl.F_SETOWN, os.getpid())
        flags = fcntl.fcntl(connection, fcntl.F_GETFL)
        fcntl.fcntl(connection, fcntl.F_SETFL, flags | os.O_ASYNC)

    def _heard(self, *_: object) -> None:
        if self._paid:
            self._paid = False
            raise _TakenBack

    def __enter__(self) -> None:
        self._paid = True
        if select.select([self._connection], [], [], 0)[0]:  # it happened before
            self._heard()

    def __exit__(self, *_: object) -> None:
        self._paid = False


def _work(listening: socket.socket, parent: int) -> None:
    """Answer requests for as long as the process ``parent`` lives.

    The signals that end the build are blocked here; ``parent`` ends its workers.
    """
    gc.disable()  # a rewrite makes hardly any cycles, and the collector slows it down
    listening.settimeout(_IDLE)
    answered = 0
    while os.getppid() == parent:
        try:
            connection, _ = listening.accept()
        except TimeoutError:
            continue
        with connection:
            connection.settimeout(_PATIENCE)
            _answer(connection)
        answered += 1
        if not answered % _REQUESTS_BETWEEN_COLLECTIONS:
            gc.collect()


def _answer(connection: socket.socket) -> None:
    """Do what one request asks.

    What can't be done here, the wrapper tries itself: it may be nothing but this process that
    lacks what it takes.
    """
    asked = request.read(request.receive(connection, request.END))
    lines: list[str] = []
    done = False
    if asked is not None:
        folder, path, known_by, only_compiled, settings = asked
        try:
            os.chdir(folder)
            with _Attention(connection):
                done = request.identity(path) == known_by and (
                    objects_in_place.rewrite(path, only_compiled, settings, lines.append)
                    == objects_in_place.DONE
                )
        except (OSError, _TakenBack):
            done = False
        os.chdir("/")  # nobody can unmount where a process stays
    answer = request.DONE + os.fsencode("\n".join(lines)) if done else request.NOT_DONE
    try:
        connection.sendall(answer)
    except OSError:
        return  # whoever asked has gone
