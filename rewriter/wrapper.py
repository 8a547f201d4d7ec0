"""A compiler with slots: runs the compiler, then rewrites the objects that it made.

The problem: a kernel build calls the compiler three thousand times, and every object has to have
its slots before anyone looks at it.  So `nopfix-cc COMPILER ARGS...` stands where the compiler
stood.  The compiler runs with its arguments unchanged; its output, errors and exit status pass
through.  When it has made an object from C or C++, the object is rewritten in place, atomically.

What the arguments say decides what is rewritten:

- With -c: each C or C++ source's object, named by -o or by the source.
- Without -c, where a source is compiled and linked at once: the object lives only between the
  assembler and the linker, so GCC is told to run the assembler through this wrapper
  (``-wrapper``).  Clang has no such option: what it compiles and links at once stays as it is.
- -E, -M, -S, -fsyntax-only, a link, a version question: nothing.
- .s and .S: nothing, unless $NOPFIX_ASM is 1.  What a hand wrote is left alone.
- Objects that aren't 64-bit little-endian ELFv2 (boot wrappers, 32-bit vDSO) and those whose path
  matches $NOPFIX_SKIP: nothing.

When an object can't be rewritten safely, the wrapper prints nopfix's line, removes the object so
that make doesn't take it for finished, and exits with 1.

Start-up is paid three thousand times, so this module imports nothing on its way to the compiler
but what the interpreter has loaded anyway, and the rewriter while the compiler runs.

Source: GCC manual, 3.2 (options controlling the kind of output), 3.3 (``@file``); libiberty's
argv.c for the quoting in response files; Linux Documentation/kbuild; kpatch-build and kpatch-cc.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing imports re and enum: as long as the interpreter's own start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PLUGIN = "ppc64le-plugin"
"""kpatch's GCC plugin, which puts slots into the compiler's instruction stream."""

C_SUFFIXES = frozenset(
    (".c", ".i", ".ii", ".cc", ".cp", ".cxx", ".cpp", ".CPP", ".c++", ".C")
    + (".m", ".mi", ".mm", ".mii", ".M")
)
ASSEMBLY_SUFFIXES = frozenset((".s", ".S", ".sx"))
C_LANGUAGES = frozenset(
    ("c", "c++", "objective-c", "objective-c++", "cpp-output", "c++-cpp-output")
    + ("objective-c-cpp-output", "objective-c++-cpp-output")
)
ASSEMBLY_LANGUAGES = frozenset(("assembler", "assembler-with-cpp"))

# Options whose value is the next argument, as GCC and Clang have them.
SEPARATE = frozenset(
    ("-I", "-D", "-U", "-A", "-B", "-F", "-L", "-T", "-e", "-l", "-u", "-z", "-G", "-h", "-R")
    + ("-MF", "-MT", "-MQ", "-MJ", "-Xpreprocessor", "-Xassembler", "-Xlinker", "-Xclang", "-mllvm")
    + ("-include", "-imacros", "-iprefix", "-iwithprefix", "-iwithprefixbefore", "-isystem")
    + ("-iquote", "-idirafter", "-isysroot", "-imultilib", "-iframework", "-include-pch")
    + ("-aux-info", "-dumpbase", "-dumpbase-ext", "-dumpdir", "-param", "--param", "-arch")
    + ("-target", "-wrapper", "-specs", "--sysroot", "-sysroot", "-gcc-toolchain", "-Xarch_host")
    + ("--include", "--imacros", "--include-directory", "--define-macro", "--undefine-macro")
    + ("--library-directory", "--for-linker", "--entry", "--force-link", "--prefix")
    + ("--serialize-diagnostics", "-working-directory", "-install_name", "-Xopenmp-target")
    + ("-cxx-isystem", "-iwithsysroot", "-ivfsoverlay", "-rpath", "--config", "-Xanalyzer")
)
# No object comes of these, whatever else is said.
NO_OBJECT = frozenset(
    ("-E", "-S", "-M", "-MM", "-fsyntax-only", "-###", "--preprocess", "--assemble")
    + ("--dependencies", "--user-dependencies", "--analyze", "-emit-llvm", "-cc1", "-cc1as")
    + ("--precompile", "-emit-ast")
)

COMMAND_NOT_FOUND = 127
_SIGHUP, _SIGINT, _SIGPIPE, _SIGTERM, _SIGXFSZ = 1, 2, 13, 15, 25


def main() -> int:
    """``nopfix-cc COMPILER ARGS...``; returns the exit status."""
    if len(sys.argv) < 2 or sys.argv[1] in ("--help", "-h"):
        print(
            "usage: nopfix-cc COMPILER ARGUMENTS...\n\n"
            "Runs the compiler and inserts TOC-restore slots into the objects that it makes.\n"
            "  nopfix-cc powerpc64le-linux-gnu-gcc -O2 -c file.c\n"
            "  nopfix-cc ccache powerpc64le-linux-gnu-gcc -O2 -c file.c\n"
            "Environment: NOPFIX_SKIP, NOPFIX_ASM, NOPFIX_SIBLING_CALLS (see docs/kernel.md).",
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
    arguments = without_plugin(arguments)
    objects, links = plan(response_files(arguments), os.environ.get("NOPFIX_ASM") == "1")
    if links:
        arguments = _through_assembler(compiler, arguments)
    if not objects:
        return _become([*compiler, *arguments])
    return _compile_and_rewrite([*compiler, *arguments], objects)


def without_plugin(arguments: Sequence[str]) -> Sequence[str]:
    """The arguments without kpatch's GCC plugin, whose work this wrapper does.

    A response file that asks for the plugin is replaced by its contents.
    """
    if not any(a.startswith("@") or PLUGIN in a for a in arguments):
        return arguments
    kept: list[str] = []
    for argument in arguments:
        if argument.startswith("@"):
            expanded = list(response_files([argument]))
            if any(_is_plugin(a) for a in expanded):
                kept.extend(a for a in expanded if not _is_plugin(a))
                continue
        if not _is_plugin(argument):
            kept.append(argument)
    return kept


def _is_plugin(argument: str) -> bool:
    if argument.startswith(f"-fplugin-arg-{PLUGIN}-"):
        return True
    return argument.startswith("-fplugin=") and os.path.basename(argument[9:]) in (
        PLUGIN,
        f"{PLUGIN}.so",
    )


def response_files(arguments: Sequence[str], depth: int = 0) -> Iterator[str]:
    """The arguments with every ``@file`` replaced by what it holds, nested ones too.

    As in the compilers, a file that can't be read stays an argument of its own.
    """
    for argument in arguments:
        if not argument.startswith("@") or depth > 100:
            yield argument
            continue
        try:
            with open(argument[1:], encoding="utf-8", errors="surrogateescape") as file:
                text = file.read()
        except (OSError, ValueError):
            yield argument
            continue
        yield from response_files(words(text), depth + 1)


def words(text: str) -> list[str]:
    """Split a response file at white space outside quotes.

    A backslash makes any next character ordinary, inside quotes of both kinds as well.
    """
    found: list[str] = []
    word: list[str] | None = None
    quote = ""
    characters = iter(text)
    for character in characters:
        if not quote and character in " \t\n\r\v\f":
            if word is not None:
                found.append("".join(word))
                word = None
            continue
        if word is None:
            word = []
        if character == "\\":
            word.append(next(characters, ""))
        elif quote:
            if character == quote:
                quote = ""
            else:
                word.append(character)
        elif character in "'\"":
            quote = character
        else:
            word.append(character)
    if word is not None:
        found.append("".join(word))
    return found


def plan(arguments: Iterator[str], assembly: bool = False) -> tuple[list[str], bool]:
    """What the compiler will make of ``arguments`` (response files already expanded).

    Returns the paths of objects from C or C++ (from assembly as well if ``assembly``), and whether
    sources are compiled and linked at once.
    """
    compiles = False
    output = None
    language = None
    sources = []
    for argument in arguments:
        if argument in NO_OBJECT:
            return [], False
        if argument == "-o" or argument == "--output":
            output = next(arguments, None)
        elif argument == "-x" or argument == "--language":
            language = next(arguments, None)
        elif argument in SEPARATE:
            next(arguments, None)
        elif argument == "-c" or argument == "--compile":
            compiles = True
        elif not argument.startswith("-") or argument == "-":
            if _is_wanted(argument, language, assembly):
                sources.append(argument)
        elif argument.startswith("-o"):
            output = argument[2:]
        elif argument.startswith("--output="):
            output = argument[9:]
        elif argument.startswith("-x"):
            language = argument[2:]
        elif argument.startswith("--language="):
            language = argument[11:]
    if not compiles:
        return [], bool(sources)
    if output is not None:
        return [output] if sources else [], False
    return [_object_name(source) for source in sources], False


def _is_wanted(source: str, language: str | None, assembly: bool) -> bool:
    if language is not None and language != "none":
        return language in C_LANGUAGES or (assembly and language in ASSEMBLY_LANGUAGES)
    suffix = os.path.splitext(source)[1]
    return suffix in C_SUFFIXES or (assembly and suffix in ASSEMBLY_SUFFIXES)


def _object_name(source: str) -> str:
    return os.path.splitext(os.path.basename(source))[0] + ".o"


def _through_assembler(compiler: Sequence[str], arguments: Sequence[str]) -> Sequence[str]:
    """Have GCC run its passes through this module, so that it sees what the assembler makes."""
    name = os.path.basename(compiler[0])
    this = os.path.abspath(__file__)
    is_gcc = "gcc" in name or "g++" in name
    if not is_gcc or "-wrapper" in arguments or "," in sys.executable + this:
        return arguments
    return ["-wrapper", f"{sys.executable},-IS,{this}", *arguments]


def one_pass(command: Sequence[str]) -> int:
    """Run one program of a compile and link (GCC's ``-wrapper``); returns the exit status.

    The assembler's object is rewritten if a compiler wrote the assembly, or $NOPFIX_ASM is 1.
    """
    wanted = None if os.environ.get("NOPFIX_ASM") == "1" else is_compiled
    is_assembler = os.path.basename(command[0]).rpartition("-")[2] == "as"
    if not is_assembler or "-o" not in command[:-1]:
        return _become(command)
    return _compile_and_rewrite(command, [command[command.index("-o") + 1]], wanted)


def is_compiled(data: bytes) -> bool:
    """Whether the object ``data`` is a compiler's work rather than hand-written assembly.

    Compilers leave their name in .comment; where they were told not to, debug information that
    isn't the assembler's own (DW_AT_producer "GNU AS ...") shows them.
    """
    from rewriter import elf

    names = {section.name: section.number for section in elf.read(data).sections}
    if ".comment" in names:
        return True
    return ".debug_info" in names and b"GNU AS " not in data


def _become(command: Sequence[str]) -> int:
    """Replace this process by ``command``; returns only when that isn't possible."""
    import _signal  # type: ignore[import-not-found]

    # The interpreter ignores these two; what it runs mustn't inherit that.
    for number in (_SIGPIPE, _SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)
    try:
        os.execvp(command[0], list(command))
    except OSError as error:
        return _not_run(command, error)


def _not_run(command: Sequence[str], error: OSError) -> int:
    complain(f"{command[0]}: {error.strerror}")
    return COMMAND_NOT_FOUND


def complain(line: str) -> None:
    """Print nopfix's one line."""
    sys.stderr.write("nopfix: " + line.replace("\n", " ") + "\n")
    sys.stderr.flush()


class _Interrupted(BaseException):
    """A signal came that ends this process: ``number`` says which."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _compile_and_rewrite(
    command: Sequence[str],
    objects: Sequence[str],
    wanted: Callable[[bytes], bool] | None = None,
) -> int:
    """Run the compiler ``command``, rewrite ``objects``, return the exit status.

    Of several sources some may compile though others don't; make won't look at their objects
    again, so they are rewritten as well.  ``wanted`` decides by an object's contents.
    """
    # `signal` wraps this module into enumerations, and importing enum takes 9 ms.
    import _signal

    before = [_state(path) for path in objects] if len(objects) > 1 else []
    child = 0
    received: list[int] = []

    def pass_on(number: int, _: object) -> None:
        received.append(number)
        if child:
            os.kill(child, number)

    def stop(number: int, _: object) -> None:
        raise _Interrupted(number)

    signals = [
        number
        for number in (_SIGHUP, _SIGINT, _SIGTERM)
        if _signal.getsignal(number) != _signal.SIG_IGN
    ]
    for number in signals:
        _signal.signal(number, pass_on)
    try:
        child = os.posix_spawnp(
            command[0], list(command), os.environ, setsigdef=(_SIGPIPE, _SIGXFSZ)
        )
    except OSError as error:
        return _not_run(command, error)
    if received:  # before there was anyone to pass it on to
        os.kill(child, received[0])
    rewrite = _load()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status < 0:
        _die(-status)
        return 128 - status
    if status and before:
        objects = [p for p, state in zip(objects, before, strict=True) if _state(p) != state]
    elif status:
        objects = []
    left = list(objects)
    try:
        for number in signals:
            _signal.signal(number, stop)
        if received:
            raise _Interrupted(received[0])
        while left:
            if not rewrite(left[0], wanted):
                _remove(left[:1])
                status = status or 1
            del left[0]
    except _Interrupted as interrupted:
        _remove(left)
        _die(interrupted.number)
    return status


def _state(path: str) -> tuple[int, int, int]:
    """What changes when the compiler writes ``path`` anew."""
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0, 0
    return status.st_ino, status.st_size, status.st_mtime_ns


def _die(number: int) -> None:
    """End this process by signal ``number``, so that whoever waits sees what happened."""
    import _signal

    if number not in (9, 19):  # SIGKILL and SIGSTOP can't be caught
        _signal.signal(number, _signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _remove(paths: Sequence[str]) -> None:
    for path in paths:
        try:
            if os.path.isfile(path):
                os.unlink(path)
        except OSError as error:
            complain(f"{path}: {error.strerror}")


def _load() -> Callable[[str, Callable[[bytes], bool] | None], bool]:
    """Import the rewriter; called while the compiler runs, so its time doesn't count.

    An import that fails is told like any other failure, once the compiler is done.
    """
    import gc

    from rewriter import light_typing

    gc.disable()  # a rewrite makes no cycles worth looking for, and exits soon
    light_typing.install()
    try:
        from rewriter import objects_in_place
    except Exception as error:
        line = f"the rewriter can't be loaded: {type(error).__name__}: {error}"

        def refuse(path: str, _: object) -> bool:
            complain(f"{path}: {line}")
            return False

        return refuse
    return objects_in_place.rewrite


def finish(status: int) -> int:
    """Leave at once: taking the interpreter down in order costs milliseconds and frees nothing."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":  # GCC's -wrapper: the rest of the command line is one pass
    sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
    finish(one_pass(sys.argv[1:]))
