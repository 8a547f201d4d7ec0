"""A folder of tools in which the compiler inserts slots: ``CROSS_COMPILE=DIR/nopfix-``.

The problem: kbuild and kpatch-build name their tools by a prefix ($CROSS_COMPILE), and kpatch-cc
handles only commands that are called ``gcc``, ``clang`` or something that ends in ``-gcc`` or
``-clang``.  So every tool of a real toolchain gets an entry under a new prefix: compilers are small
scripts that run the wrapper, all others are links.

LLVM's linker links for every target and so has no prefix, but kpatch-build, when it builds for
another machine, looks for it under one (``${CROSS_COMPILE}ld.lld``): it gets an entry as well.

A script names its compiler by its absolute path and starts the interpreter without site packages
(-I -S), which is half of the wrapper's start-up time.  It also holds nopfix's version and the
compiler's, so that ccache, which looks at the compiler's file, sees a change of either.  `nopfix`
itself has a script of this kind beside them, for objects that are there already.

Where the machine has a C compiler, a command is a program of C (client.c), which does what is
ordinary without an interpreter, and the script lies below it for the rest.

Source: Linux Documentation/kbuild/kbuild.rst (CROSS_COMPILE); kpatch-build/kpatch-cc.
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import cache

import nopfix
from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.build import compiler_arguments, output, request
from nopfix.rewriter.errors import INTERNAL_ERROR, internal_error, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

COMPILERS = ("gcc", "g++", "cc", "c++", "clang", "clang++")

# Programs that stand on $PATH under a compiler's name and look for the next one there.  Were one of
# them taken for the compiler, it would find our script, which runs it, which finds our script ...
MASQUERADES = frozenset(("ccache", "distcc", "icecc", "sccache"))

# With an empty prefix every command of the machine would match, so there the tools are named.
NATIVE_TOOLS = (
    ("addr2line", "ar", "as", "c++filt", "cpp", "dwp", "elfedit", "gcc-ar", "gcc-nm")
    + ("gcc-ranlib", "gcov", "gcov-dump", "gcov-tool", "gprof", "ld", "ld.bfd", "ld.gold", "ld.lld")
    + ("nm", "objcopy", "objdump", "ranlib", "readelf", "size", "strings", "strip")
)

_LLD = "ld.lld"

_EPILOG = """\
An existing folder is brought up to date.

examples:
  nopfix-toolchain /opt/nopfix --for powerpc64le-linux-gnu-
  make ARCH=powerpc CROSS_COMPILE=/opt/nopfix/nopfix-
  nopfix-toolchain /opt/nopfix-native --prefix ''     then: PATH=/opt/nopfix-native:$PATH

exit status: 0 done, 1 no such toolchain, 2 usage, 3 input/output error, 70 internal error
"""

SCRIPTS = ".nopfix"
"""The folder of the scripts that stand behind commands of C, beside these."""

COMMAND = "nopfix"
"""The rewriter's own command; no tool of a toolchain is called so."""

_MARK = b"from nopfix.rewriter.build.wrapper import finish, run"
_SCRIPT = """\
{shebang}
# {identity}
import sys
sys.path[:0] = {packages!r}
try:
    {entry}
except ImportError as error:
    sys.stderr.write(f"nopfix: {{error}}; run nopfix-toolchain again\\n")
    sys.exit(70)
{call}
"""


def parser() -> argparse.ArgumentParser:
    """The command's options; the manual page is made from the same source."""
    result = argparse.ArgumentParser(
        prog="nopfix-toolchain",
        description="Make a folder of commands NEW* out of the toolchain PREFIX* on $PATH:"
        " compilers that insert TOC-restore slots, links for the rest.  Beside them: nopfix"
        " itself, started without what it doesn't need.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add("folder", metavar="DIR", help="the folder; empty, or made by this command")
    add(
        "--for",
        dest="old",
        default="",
        metavar="PREFIX",
        help="prefix of the toolchain (default: none, the machine's own tools)",
    )
    add("--prefix", default="nopfix-", metavar="NEW", help="the new prefix (default: nopfix-)")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """``nopfix-toolchain``; returns the exit status."""
    options = parser().parse_args(arguments)
    try:
        made = make(options.folder, options.old, options.prefix, os.get_exec_path())
    except OSError as error:
        print(f"nopfix-toolchain: {error.filename}: {error.strerror}", file=sys.stderr)
        return 3
    except Exception as error:
        print(f"nopfix-toolchain: {printable(internal_error(error))}", file=sys.stderr)
        return INTERNAL_ERROR
    compilers = [name for name in made if is_compiler(name.removeprefix(options.prefix))]
    if not compilers:
        print(
            f"nopfix-toolchain: no compiler named {options.old}gcc or {options.old}clang"
            " on PATH; install one, or give its prefix with --for",
            file=sys.stderr,
        )
        return 1
    print(f"{options.folder}: {len(compilers)} compilers, {len(made) - len(compilers)} other tools")
    return 0


def make(folder: str, old: str, new: str, path: Sequence[str], *, in_c: bool = True) -> list[str]:
    """Fill ``folder`` with commands ``new*`` for the tools ``old*`` in the folders ``path``.

    With ``in_c`` the compilers' commands are programs of C where that can be compiled.  Returns the
    names of the commands, sorted.  Raises OSError, also for a folder of other things: nobody's own
    compiler is replaced.
    """
    os.makedirs(folder, exist_ok=True)
    if not _may_be_filled(folder):
        raise FileExistsError(17, "neither empty nor made by nopfix-toolchain", folder)
    found = tools(old, path, os.path.realpath(folder))
    compilers = {new + name: tool for name, tool in found.items() if is_compiler(name)}
    programs = clients(set(compilers.values()), path, folder) if in_c else {}
    for name, tool in compilers.items():
        _put(folder, name, script(tool).encode("utf-8", "surrogateescape"), programs.get(tool))
    for name, tool in found.items():
        if new + name not in compilers:
            _link(tool, os.path.join(folder, new + name))
    _put(folder, COMMAND, _own_script().encode("utf-8", "surrogateescape"), None)
    return sorted(new + name for name in found)


def _put(folder: str, name: str, text: bytes, program: bytes | None) -> None:
    """Put a compiler's command into ``folder``: ``program``, if there is one, and its script."""
    commands = {os.path.join(folder, name): text}
    if program is not None:
        os.makedirs(os.path.join(folder, SCRIPTS), exist_ok=True)
        commands = {os.path.join(folder, SCRIPTS, name): text, os.path.join(folder, name): program}
    for command, data in commands.items():
        if os.path.islink(command):
            os.unlink(command)
        output.replace(command, data, 0o755)


def tools(prefix: str, path: Sequence[str], but: str = "") -> dict[str, str]:
    """The tools of a toolchain: absolute paths by name without ``prefix``, first on ``path`` first.

    The folder ``but`` (a real path) and links to ccache and its like are passed over.  LLVM's
    linker counts without ``prefix``, too.
    """
    found: dict[str, str] = {}
    folders = [f for f in path if os.path.isdir(f) and os.path.realpath(f) != but]
    for folder in folders:
        for name in sorted(os.listdir(folder)):
            short = name.removeprefix(prefix)
            if not name.startswith(prefix) or not short or short in found:
                continue
            if not prefix and not (name in NATIVE_TOOLS or is_compiler(name)):
                continue
            tool = os.path.join(os.path.abspath(folder), name)
            if os.path.basename(os.path.realpath(tool)) in MASQUERADES:
                continue
            if _is_program(tool):
                found[short] = tool
    if _LLD not in found and (linker := _llvms_linker(folders)) is not None:
        found[_LLD] = linker
    return found


def _llvms_linker(folders: Sequence[str]) -> str | None:
    """The first ld.lld in ``folders``; where it is installed under its version only, the newest."""
    newest, linker = -1, None
    for folder in folders:
        for name in sorted(os.listdir(folder)):
            base, _, version = name.partition("-")
            tool = os.path.join(os.path.abspath(folder), name)
            if base != _LLD or not _is_program(tool):
                continue
            if name == _LLD:
                return tool
            if version.isdecimal() and int(version) > newest:
                newest, linker = int(version), tool
    return linker


def _is_program(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def is_compiler(name: str) -> bool:
    """Whether ``name`` (without prefix) is a compiler's: gcc, clang++, g++-12, clang-19."""
    base, dash, version = name.rpartition("-")
    if dash and version and all(c.isdigit() or c == "." for c in version):
        name = base
    return name in COMPILERS


def script(compiler: str) -> str:
    """The command that stands in for ``compiler`` (an absolute path)."""
    call = f"finish(run({[compiler]!r}, sys.argv[1:]))"
    return _script(_identity(compiler), _MARK.decode(), call)


def _own_script() -> str:
    """The command that is nopfix itself."""
    entry = "from nopfix.rewriter.__main__ import run"
    return _script(f"nopfix {_sources()}", entry, "sys.exit(run())")


def _script(identity: str, entry: str, call: str) -> str:
    interpreter = sys.executable
    shebang = f"#!{interpreter} -IS"
    if " " in interpreter or len(shebang) > 127:
        # The kernel takes a blank as the end of the interpreter's name, and cuts long lines.
        shebang = f"#!/bin/sh\n'''exec' '{interpreter}' -IS \"$0\" \"$@\"\n' '''"
    return _SCRIPT.format(
        shebang=shebang, identity=identity, packages=_packages(), entry=entry, call=call
    )


# -- the client in C -------------------------------------------------------------------------------

_HOST_COMPILERS = ("cc", "gcc", "clang")
# Arguments that begin so are Python's to understand.
_ODD = (
    *("@", "-fplugin", "-wrapper", "--config", "-working-directory", "--driver-mode"),
    *("--language", "--output", "--compile", "-Xclang", compiler_arguments.NO_QUESTION),
)
_HERE = os.path.dirname(os.path.abspath(__file__))


def clients(compilers: Iterable[str], path: Sequence[str], but: str = "") -> dict[str, bytes]:
    """A program of C for each of ``compilers`` (absolute paths), made by this machine's compiler.

    That is looked for in the folders ``path``, the folder ``but`` left out.  Nothing comes back
    where there is none, or none whose programs run here: then the scripts do it all.
    """
    import subprocess
    from tempfile import TemporaryDirectory

    host = _host_compiler(path, but)
    if host is None:
        return {}
    source = os.path.join(_HERE, "client.c")
    made = {}
    with TemporaryDirectory(prefix="nopfix-") as scratch:

        def compile_(*arguments: str) -> None:
            command = [host, "-O2", *arguments]
            subprocess.run(command, cwd=scratch, check=True, capture_output=True)

        try:
            _write(scratch, "tables.h", _tables())
            compile_("-I.", "-c", source, "-o", "client.o")
            for compiler in compilers:
                names = {"COMPILER": compiler, "IDENTITY": _identity(compiler)}
                lines = [f"const char {name}[] = {_quoted(own)};" for name, own in names.items()]
                _write(scratch, "names.c", "\n".join(lines) + "\n")
                compile_("client.o", "names.c", "-o", "client")
                with open(os.path.join(scratch, "client"), "rb") as file:
                    made[compiler] = file.read()
            if not _runs(os.path.join(scratch, "client")):
                return {}
        except (OSError, subprocess.SubprocessError):
            return {}
    return made


def _runs(program: str) -> bool:
    """Whether this machine runs a client, whatever the compiler says that it then runs."""
    import subprocess

    done = subprocess.run([program, "-dumpversion"], capture_output=True, check=False)
    return done.returncode >= 0


def _host_compiler(path: Sequence[str], but: str) -> str | None:
    """The first C compiler for this machine on ``path``."""
    for name in _HOST_COMPILERS:
        for folder in path:
            command = os.path.join(folder, name)
            if os.path.realpath(folder) != os.path.realpath(but) and _is_program(command):
                return command
    return None


def _tables() -> str:
    """What client.c includes: the wrapper's own lists."""
    lists = {
        "SEPARATE": compiler_arguments.SEPARATE,
        "NO_OBJECT": compiler_arguments.NO_OBJECT,
        "QUESTIONS": compiler_arguments.QUESTIONS,
        "C_SUFFIXES": compiler_arguments.C_SUFFIXES,
        "ASSEMBLY_SUFFIXES": compiler_arguments.ASSEMBLY_SUFFIXES,
        "ODD": _ODD,
        "SETTINGS": request.SETTINGS,
    }
    words = {
        "INTERPRETER": sys.executable,
        "CLIENT_PY": os.path.join(_HERE, "client.py"),
        "PACKAGES": os.pathsep.join(_packages()),
        "NOPFIX": request.nopfix(),
        "SCRIPTS": SCRIPTS,
    }
    lines = [f"#define {name} {_quoted(word)}" for name, word in words.items()]
    for name, own in lists.items():
        members = "".join(f"  {_quoted(word)},\n" for word in sorted(own))
        lines.append(f"static const char *const {name}[] = {{\n{members}  0}};")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """``text`` as a string of C."""
    plain = frozenset(range(0x20, 0x7F)) - frozenset(b'"\\?')
    data = os.fsencode(text)
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in data) + '"'


def _write(folder: str, name: str, text: str) -> None:
    with open(os.path.join(folder, name), "w", encoding="ascii") as file:
        file.write(text)


def _folder() -> str:
    """The folder of the package nopfix, whose packages may be links in it."""
    return os.path.dirname(os.path.abspath(nopfix.__file__))


def _packages() -> list[str]:
    """Where nopfix lies, and what opens sections that are compressed with zstd, if installed."""
    folders = [os.path.dirname(_folder())]
    from importlib.util import find_spec

    backports = find_spec("backports")
    for place in (backports and backports.submodule_search_locations) or ():
        if os.path.isdir(os.path.join(place, "zstd")):
            folders.append(os.path.dirname(place))
    return list(dict.fromkeys(folders))


def _identity(compiler: str) -> str:
    """What a cache has to know: which nopfix (by its sources) and which compiler (by its file)."""
    status = os.stat(compiler)
    return f"nopfix {_sources()}, compiler {status.st_size} {status.st_mtime_ns}"


@cache
def _sources() -> str:
    """A digest of nopfix's sources, read once for all compilers of a folder."""
    from hashlib import sha256

    digest = sha256()
    for package in ("dwarf", "rewriter"):
        for folder, folders, names in os.walk(os.path.join(_folder(), package)):
            folders.sort()
            for name in sorted(name for name in names if name.endswith(".py")):
                with open(os.path.join(folder, name), "rb") as file:
                    digest.update(name.encode() + b"\0" + file.read())
    return digest.hexdigest()[:16]


def _may_be_filled(folder: str) -> bool:
    """Whether ``folder`` is empty or has a script of ours in it."""
    entries = list(os.scandir(folder))
    if any(entry.name == SCRIPTS for entry in entries):
        return True
    for entry in entries:
        if entry.is_file(follow_symlinks=False):
            with open(entry.path, "rb") as file:
                if _MARK in file.read(4096):
                    return True
    return not entries


def _link(tool: str, command: str) -> None:
    if os.path.lexists(command):
        if os.path.islink(command) and os.readlink(command) == tool:
            return
        os.unlink(command)
    os.symlink(tool, command)


if __name__ == "__main__":
    sys.exit(main())
