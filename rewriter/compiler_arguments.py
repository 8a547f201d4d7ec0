"""What a compiler's arguments say: which objects come of them, and from which language.

The problem: the wrapper has to know what the compiler will write before it runs, and compilers name
their output in many ways: -o X, -oX, after the source, in a response file; and a C source may be
called anything once -x says that it is one.

The rule: read the arguments as the compilers do, left to right, response files replaced by what
they hold.  A source is C by -x or, without, by its suffix.  With -c each source's object is named
by -o or by the source.  Without, where a source is compiled and linked at once, no object is left.

Everything here runs before the compiler starts, three thousand times in a kernel build, so this
module imports nothing but what the interpreter has loaded anyway.

Source: GCC manual, 3.2 (options controlling the kind of output), 3.3 (``@file``); libiberty's
argv.c and LLVM's CommandLine.cpp for response files; clang --help-hidden; LLVM's Types.def.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing imports re and enum: as long as the interpreter's own start
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PLUGIN = "ppc64le-plugin"
"""kpatch's GCC plugin, which puts slots into the compiler's instruction stream."""

# C, C++ and Objective-C, preprocessed or not, and what Clang has made of them already.
C_SUFFIXES = frozenset(
    (".c", ".i", ".ii", ".cc", ".cp", ".cxx", ".cpp", ".c++", ".C", ".CC", ".CPP", ".CXX")
    + (".ccm", ".cppm", ".cxxm", ".c++m", ".m", ".mi", ".mm", ".mii", ".M", ".ll", ".bc")
)
ASSEMBLY_SUFFIXES = frozenset((".s", ".S", ".sx"))
C_LANGUAGES = frozenset(
    ("c", "c++", "objective-c", "objective-c++", "cpp-output", "c++-cpp-output")
    + ("objective-c-cpp-output", "objective-c++-cpp-output", "c++-module", "ir")
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
    + ("-resource-dir", "-isystem-after", "-stdlib++-isystem", "-Xarch_device", "-mmlir")
)
# No object comes of these, whatever else is said.
NO_OBJECT = frozenset(
    ("-E", "-S", "-M", "-MM", "-fsyntax-only", "-###", "--preprocess", "--assemble")
    + ("--dependencies", "--user-dependencies", "--analyze", "-emit-llvm", "-cc1", "-cc1as")
    + ("--precompile", "-emit-ast")
)

_MOST_RESPONSE_FILES = 2000
"""As in libiberty: a file that names itself comes to an end."""


def response_files(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """The arguments with every ``@file`` replaced by what it holds, nested ones too.

    Also says whether the compiler can read the same again: a pipe is empty after its first reader.
    As in the compilers, a file that can't be read stays an argument of its own.
    """
    if not any(argument.startswith("@") for argument in arguments):
        return list(arguments), True
    expanded: list[str] = []
    again = True
    left = list(reversed(arguments))
    allowed = _MOST_RESPONSE_FILES
    while left:
        argument = left.pop()
        if argument.startswith("@") and allowed:
            try:
                with open(argument[1:], "rb") as file:
                    text = os.fsdecode(file.read())
            except (OSError, ValueError):
                pass
            else:
                again = again and os.path.isfile(argument[1:])
                left.extend(reversed(words(text)))
                allowed -= 1
                continue
        expanded.append(argument)
    return expanded, again


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


def is_plugin(argument: str) -> bool:
    """Whether the argument asks for kpatch's GCC plugin, whose work the wrapper does."""
    if argument.startswith(f"-fplugin-arg-{PLUGIN}-"):
        return True
    return argument.startswith("-fplugin=") and os.path.basename(argument[9:]) in (
        PLUGIN,
        f"{PLUGIN}.so",
    )


def plan(arguments: Iterable[str], assembly: bool = False) -> tuple[list[str], bool]:
    """What the compiler will make of ``arguments`` (response files already expanded).

    Returns the paths of objects from C or C++ (from assembly as well if ``assembly``), and whether
    sources are compiled and linked at once.
    """
    compiles = False
    output = None
    language = None
    sources = []
    following = iter(arguments)
    for argument in following:
        if argument in NO_OBJECT:
            return [], False
        if argument == "-o" or argument == "--output":
            output = next(following, None)
        elif argument == "-x" or argument == "--language":
            language = next(following, None)
        elif argument in SEPARATE:
            next(following, None)
        elif argument == "-c" or argument == "--compile":
            compiles = True
        elif argument == "--":  # Clang: only sources from here on
            sources += [source for source in following if _is_wanted(source, language, assembly)]
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
    if output == "-":
        output = "/dev/stdout"
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


def is_gcc(command: Sequence[str]) -> bool:
    """Whether the command runs GCC, by its name, maybe through programs such as ccache."""
    for word in command:
        if word.startswith("-"):
            break
        name, dash, version = os.path.basename(word).rpartition("-")
        if not (dash and version and all(c.isdigit() or c == "." for c in version)):
            name = os.path.basename(word)
        if name.rpartition("-")[2] in ("gcc", "g++"):
            return True
    return False
