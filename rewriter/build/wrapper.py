"""A compiler with slots: runs the compiler, then rewrites the objects that it made.

The problem: a kernel build calls the compiler three thousand times, and every object has to have
its slots before anyone looks at it.  So `nopfix-cc COMPILER ARGS...` stands where the compiler
stood.  The compiler runs with its arguments as they are, but for kpatch's plugin, which is dropped;
its output, errors and exit status pass through.  When it has made an object, that is rewritten in
place, atomically.

What the arguments say decides what is rewritten (`compiler_arguments`):

- With -c: each compiled source's object.  Where Clang takes arguments from a configuration file,
  it is asked what it will make (`compiler_jobs`).
- Without -c, where a source is compiled and linked at once: the object lives only between the
  assembler and the linker, so GCC is told to run the assembler through this wrapper
  (``-wrapper``, behind one that is given, and no ``-pipe``).  A compiler of another name, cc or
  gfortran, is asked whether it is GCC.  Clang has no such option: what it compiles and links at
  once stays as it is.
- rustc: what --emit=obj says (`rust_arguments`).
- -E, -M, -S, -fsyntax-only, a link, a version question: nothing.
- With $NOPFIX_SIBLING_CALLS "compiler" what compiles gets -fno-optimize-sibling-calls.
- .s and .S: nothing, unless $NOPFIX_ASM is 1.  What a hand wrote is left alone.
- Objects that aren't 64-bit little-endian ELFv2 (boot wrappers, 32-bit vDSO) and those whose path
  matches $NOPFIX_SKIP: nothing.

When an object can't be rewritten safely, the wrapper prints nopfix's line, removes the object so
that make doesn't take it for finished, and exits with 1 (with 70 after a mistake of its own).  When
the compiler has succeeded and the object that should have come of it isn't there, or is an older
one, it says so and exits with 1: then an object without slots lies somewhere else.

Start-up is paid three thousand times, so this module imports nothing on its way to the compiler
but what the interpreter has loaded anyway, and the rewriter while the compiler runs.  A kernel's
make starts by compiling /dev/null 160 times, to see which options the compiler knows; what comes of
that has no code, and the rewriter isn't loaded for it.

Source: GCC manual, 3.2 (``-wrapper``); GNU make manual, 5.6 (interrupted recipes); Linux
Documentation/kbuild; kpatch-build and kpatch-cc.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing imports re and enum: as long as the interpreter's own start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    State = tuple[int, int, int, int, int]
    Rewrite = Callable[[str, bool], int]

COMMAND_NOT_FOUND = 127
# Linux's numbers; `signal` wraps them into enumerations, and importing enum takes 9 ms.
_SIGHUP, _SIGINT, _SIGQUIT, _SIGPIPE, _SIGTERM, _SIGCHLD, _SIGXFSZ = 1, 2, 3, 13, 15, 17, 25
ENDING = (_SIGHUP, _SIGINT, _SIGQUIT, _SIGTERM)
NO_SIBLING_CALLS = "-fno-optimize-sibling-calls"
_MOST_HELD = 64
"""Descriptors are few, and the rewriter is loaded while these are held."""


def main() -> int:
    """``nopfix-cc COMPILER ARGS...``; returns the exit status."""
    if len(sys.argv) < 2 or sys.argv[1] in ("--help", "-h"):
        print(
            "usage: nopfix-cc COMPILER ARGUMENTS...\n\n"
            "Runs the compiler and inserts TOC-restore slots into the objects that it makes.\n"
            "  nopfix-cc powerpc64le-linux-gnu-gcc -O2 -c file.c\n"
            "  nopfix-cc ccache powerpc64le-linux-gnu-gcc -O2 -c file.c\n"
            "Environment: NOPFIX_SKIP, NOPFIX_ASM, NOPFIX_SIBLING_CALLS, NOPFIX_VERIFY,"
            " NOPFIX_LEAVE_UNPROVED, NOPFIX_REPORT"
            " (see docs/kernel.md).",
            file=sys.stdout if len(sys.argv) > 1 else sys.stderr,
        )
        return 0 if len(sys.argv) > 1 else 2
    return finish(run(sys.argv[1:2], sys.argv[2:]))


def gcc() -> int:
    """``nopfix-gcc ARGS...``: the compiler is $NOPFIX_CC or the next gcc on PATH."""
    return finish(run(_compiler("gcc"), sys.argv[1:]))


def clang() -> int:
    """``nopfix-clang ARGS...``: the compiler is $NOPFIX_CC or the next clang on PATH."""
    return finish(run(_compiler("clang"), sys.argv[1:]))


def _compiler(name: str) -> list[str]:
    """$NOPFIX_CC, split at blanks, or the first ``name`` on PATH that isn't this very command."""
    chosen = os.environ.get("NOPFIX_CC", "").split()
    if chosen:
        return chosen
    own = os.path.realpath(sys.argv[0])
    for folder in os.get_exec_path():
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK) and os.path.isfile(path) and os.path.realpath(path) != own:
            return [path]
    return [name]


def run(compiler: Sequence[str], arguments: Sequence[str]) -> int:
    """Run ``compiler`` with ``arguments``, rewrite what it made, return the exit status.

    Doesn't return where there is nothing to rewrite (the compiler takes this process's place) or
    where the compiler died by a signal (so does this process).
    """
    end_by_interrupts()
    try:
        return _run(compiler, arguments)
    except Exception as error:
        return _internal_error(error)


def _run(compiler: Sequence[str], arguments: Sequence[str]) -> int:
    # Here rather than above: as GCC's -wrapper this file starts without a path to the package.
    from nopfix.rewriter.build.compiler_arguments import (
        is_gcc,
        is_plugin,
        is_rustc,
        plan,
        response_files,
        takes_more,
        turns_out_gcc,
    )

    if is_rustc([*compiler, *arguments[:1]]):
        from nopfix.rewriter.build import rust_arguments

        command = [*compiler, *arguments]
        objects = rust_arguments.plan(rust_arguments.response_files(arguments))
        return _compile_and_rewrite(command, objects) if objects else _become(command)
    expanded, again = response_files(arguments, compiler)
    assembly = os.environ.get("NOPFIX_ASM") == "1"
    objects, links = plan(expanded, assembly)
    gcc = is_gcc([*compiler, *expanded])
    if gcc is None and links:
        gcc = turns_out_gcc(compiler, expanded)
    through_assembler = links and gcc
    # Of passes that a pipe connects GCC wraps just the first.
    dropped = [a for a in expanded if is_plugin(a) or (through_assembler and a == "-pipe")]
    if dropped or not again:
        arguments = [argument for argument in expanded if argument not in dropped]
    if through_assembler:
        arguments = [*arguments, *_wrapped_passes(expanded)]
    if (objects or links) and os.environ.get("NOPFIX_SIBLING_CALLS") == "compiler":
        # In front: what the build itself says of it counts, and behind "--" there are only sources.
        arguments = [NO_SIBLING_CALLS, *arguments]
    command = [*compiler, *arguments]
    if not gcc and takes_more(expanded, os.environ):
        from nopfix.rewriter.build import compiler_jobs

        asked = compiler_jobs.ask(command, assembly)
        objects = objects if asked is None else asked
    if not objects:
        return _become(command)
    return _compile_and_rewrite(command, objects, is_probe=os.devnull in expanded)


def _wrapped_passes(arguments: Sequence[str]) -> Sequence[str]:
    """Have GCC run its passes through this module, so that it sees what the assembler makes.

    Of several wrappers GCC takes the last: one in ``arguments`` runs this one.
    """
    this = os.path.abspath(__file__)
    if "," in sys.executable + this:  # which separates the words of the option's value
        return []
    given = [arguments[i + 1] for i, a in enumerate(arguments[:-1]) if a == "-wrapper"]
    return ["-wrapper", ",".join([*given[-1:], sys.executable, "-IS", this])]


def one_pass(command: Sequence[str]) -> int:
    """Run one program of a compile and link (GCC's ``-wrapper``); returns the exit status.

    The assembler's object is rewritten if a compiler wrote the assembly, or $NOPFIX_ASM is 1.
    """
    end_by_interrupts()
    try:
        return _one_pass(command)
    except Exception as error:
        return _internal_error(error)


def _one_pass(command: Sequence[str]) -> int:
    is_assembler = os.path.basename(command[0]).rpartition("-")[2] == "as"
    if not is_assembler or "-o" not in command[:-1]:
        return _become(command)
    only_compiled = os.environ.get("NOPFIX_ASM") != "1"
    return _compile_and_rewrite(command, {command[command.index("-o") + 1]: True}, only_compiled)


def end_by_interrupts() -> None:
    """Have an interrupt end this process as it ends others, without a word, until it has a child.

    The interpreter would raise an exception, wherever it is.
    """
    import _signal  # type: ignore[import-not-found]

    if _signal.getsignal(_SIGINT) is _signal.default_int_handler:
        _signal.signal(_SIGINT, _signal.SIG_DFL)


def _become(command: Sequence[str]) -> int:
    """Replace this process by ``command``; returns only when that isn't possible."""
    import _signal

    # The interpreter ignores these two; what it runs mustn't inherit that.
    for number in (_SIGPIPE, _SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)
    try:
        os.execvp(command[0], list(command))
    except (OSError, ValueError) as error:
        return not_run(command, error)


def not_run(command: Sequence[str], error: OSError | ValueError) -> int:
    """Say that ``command`` couldn't be started; returns the exit status for that."""
    said = error.strerror if isinstance(error, OSError) else error  # of a name without a letter
    _complain(f"{command[0]}: {said}")
    return COMMAND_NOT_FOUND


def _complain(line: str) -> None:
    from nopfix.rewriter.errors import complain

    complain(line)


def _internal_error(error: Exception) -> int:
    from nopfix.rewriter.errors import INTERNAL_ERROR, internal_error

    _complain(internal_error(error))
    return INTERNAL_ERROR


class Interrupted(BaseException):
    """A signal came that ends this process: ``number`` says which."""

    def __init__(self, number: int) -> None:
        """``number`` is the signal's."""
        super().__init__(number)
        self.number = number


def _interrupt(number: int, _: object) -> None:
    """Raise `Interrupted`, once: what comes after it is ignored."""
    import _signal

    for each in ENDING:
        _signal.signal(each, _signal.SIG_IGN)
    raise Interrupted(number)


def _compile_and_rewrite(
    command: Sequence[str],
    objects: Mapping[str, bool],
    only_compiled: bool = False,
    is_probe: bool = False,
) -> int:
    """Run the compiler ``command``, rewrite ``objects``, return the exit status.

    Those with True beside them have to be there when the compiler has succeeded, written by it.  Of
    several sources some may compile though others don't; make won't look at their objects again, so
    they are rewritten as well.  With ``only_compiled`` hand-written assembly stays.  An
    ``is_probe`` is expected to make objects without code, for which nothing is loaded.
    """
    import _signal

    held = [_hold(path) for path in list(objects)[:_MOST_HELD]]
    before = {path: _state(path) for path in objects}
    child = 0
    received: list[int] = []

    def pass_on(number: int, _: object) -> None:
        received.append(number)
        if child:
            _kill(child, number)

    signals = [n for n in ENDING if _signal.getsignal(n) != _signal.SIG_IGN]
    for number in signals:
        _signal.signal(number, pass_on)
    # Who ignores it, as the caller may have, can't ask for a child's status.
    _signal.signal(_SIGCHLD, _signal.SIG_DFL)
    try:
        child = _spawn(command)
    except (OSError, ValueError) as error:
        return not_run(command, error)
    if received:  # before there was anyone to pass it on to
        _kill(child, received[0])
    rewrite = None if is_probe else _load()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status < 0:
        die(-status)
        return 128 - status
    written = [path for path in objects if _is_written(path, before[path], not status)]
    missing = [path for path in objects if objects[path] and path not in written]
    _let_go(held)
    try:
        catch_signals()
        if received:
            raise Interrupted(received[0])
        return complete(written, missing, rewrite, status, only_compiled)
    except Interrupted as interrupted:
        remove(written)
        die(interrupted.number)
    return status


def complete(
    written: Sequence[str],
    missing: Iterable[str],
    rewrite: Rewrite | None,
    status: int,
    only_compiled: bool = False,
) -> int:
    """Do what is left when the compiler has ended with ``status``; returns the exit status.

    The objects ``written`` are rewritten; ``missing`` are those that should have been.  Signals
    have to be caught.  An object that has no slots when this ends, however it ends, is removed.
    """
    left = list(written)
    try:
        if not status:
            status = _missing(missing)
        return _rewrite_all(left, rewrite, only_compiled, status)
    except Interrupted as interrupted:
        remove(left)
        die(interrupted.number)
    except Exception as error:
        remove(left)
        return _internal_error(error)
    return status


def catch_signals() -> None:
    """From here on the signals that end a build raise `Interrupted`, but for those ignored."""
    import _signal

    for number in ENDING:
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, _interrupt)


def _spawn(command: Sequence[str]) -> int:
    """Start ``command``; returns the process's number.  Raises OSError."""
    return os.posix_spawnp(command[0], list(command), os.environ, setsigdef=(_SIGPIPE, _SIGXFSZ))


def _let_go(descriptors: Iterable[int | None]) -> None:
    for descriptor in descriptors:
        if descriptor is not None:
            os.close(descriptor)


def _rewrite_all(left: list[str], rewrite: Rewrite | None, only_compiled: bool, status: int) -> int:
    """Rewrite the objects ``left`` with ``rewrite``; returns ``status``, or what went wrong.

    Each is taken off the list when it is done with; one that can't be rewritten is removed.
    """
    while left:
        if rewrite is None and _may_have_code(left[0]):
            rewrite = _load()
        failed = rewrite(left[0], only_compiled) if rewrite is not None else 0
        if failed:
            remove(left[:1])
            status = status or failed
        del left[0]
    return status


def _missing(paths: Iterable[str]) -> int:
    """Say which objects aren't there though the compiler has succeeded; returns an exit status."""
    status = 0
    for path in paths:
        from nopfix.rewriter.build import start

        start.prepare()
        from nopfix.rewriter.build import objects_in_place

        status = objects_in_place.missing(path) or status
    return status


def _may_have_code(path: str) -> bool:
    """False for the null device and for an ELF object all of whose code sections are empty.

    GCC's intermediate code is code: that it is refused is what a probe for -flto has to hear.
    """
    if not os.path.isfile(path):
        return path != os.devnull
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return True  # whoever rewrites it says what is wrong
    if not data.startswith(b"\x7fELF\x02\x01") or _holds_intermediate_code(data):
        return True

    def field(offset: int, size: int) -> int:
        return int.from_bytes(data[offset : offset + size], "little")

    table, width, count = field(0x28, 8), field(0x3A, 2), field(0x3C, 2)
    headers = range(table, table + width * count, width or 1)
    return not headers or any(field(at + 8, 8) & 4 and field(at + 32, 8) for at in headers)


def _holds_intermediate_code(data: bytes) -> bool:
    return b"\0.gnu.lto_" in data or b"\0.llvm.lto\0" in data


def _kill(child: int, number: int) -> None:
    try:
        os.kill(child, number)
    except ProcessLookupError:
        return  # it has ended meanwhile


def _hold(path: str) -> int | None:
    """A descriptor of what is there before the compiler runs, None where nothing is.

    The number of a file that is open isn't given to another, so the new file is told from the old
    one even where the file system's clock hasn't moved on.
    """
    try:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None


def _state(path: str) -> State | None:
    """What changes when the compiler writes ``path`` anew; None where nothing is."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    found = status.st_dev, status.st_ino, status.st_size
    return *found, status.st_mtime_ns, status.st_ctime_ns  # a hard link is as old as its other name


def _is_written(path: str, before: State | None, succeeded: bool) -> bool:
    """Whether ``path`` is there and not as ``before``; a device needs the compiler's word only."""
    now = _state(path)
    return now is not None and (now != before or (succeeded and not os.path.isfile(path)))


def die(number: int) -> None:
    """End this process by signal ``number``, so that whoever waits sees what happened."""
    import _signal

    if number not in (9, 19):  # SIGKILL and SIGSTOP can't be caught
        _signal.signal(number, _signal.SIG_DFL)
    os.kill(os.getpid(), number)


def remove(paths: Sequence[str]) -> None:
    """Remove the files that the paths lead to, by way of links too.

    One that can't be removed, its folder being somebody else's, is emptied: nobody links it then.
    """
    for path in map(os.path.realpath, paths):
        try:
            if os.path.isfile(path):
                os.unlink(path)
        except OSError as error:
            _complain(f"{path}: {error.strerror}")
            try:
                os.truncate(path, 0)
            except OSError:
                continue


def _load() -> Rewrite:
    """What rewrites an object: `nopfix-serve` where there is one, else this process."""
    server = os.environ.get("NOPFIX_SERVER")
    if not server or os.environ.get("NOPFIX_DEBUG"):
        return load_rewriter()
    try:
        from nopfix.rewriter.build import request
    except ImportError:  # an interpreter without sockets
        return load_rewriter()

    def rewrite(path: str, only_compiled: bool) -> int:
        if request.ask(server, path, only_compiled):
            return 0
        return load_rewriter()(path, only_compiled)

    return rewrite


def load_rewriter() -> Rewrite:
    """Import the rewriter; called while the compiler runs, which often leaves a processor idle.

    An import that fails is told like any other internal error, once the compiler is done.
    """
    try:
        from nopfix.rewriter.build import start

        start.prepare()
        from nopfix.rewriter.build import objects_in_place
    except Exception as error:
        failed = error

        def refuse(path: str, _: bool) -> int:
            raise failed

        return refuse
    return objects_in_place.rewrite


def finish(status: int) -> int:
    """Leave at once: taking the interpreter down in order costs milliseconds and frees nothing."""
    if sys.stdout is not None:  # closed by the caller
        sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":  # GCC's -wrapper: the rest of the command line is one pass
    _nopfix = os.path.abspath(os.path.join(__file__, "../../.."))
    sys.path[:0] = [os.path.dirname(_nopfix)]
    finish(one_pass(sys.argv[1:]))
