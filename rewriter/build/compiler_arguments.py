"""What a compiler's arguments say: which objects come of them, and from which language.

The problem: the wrapper has to know what the compiler will write before it runs, and compilers name
their output in many ways: -o X, -oX, after the source, in a response file; and a C source may be
called anything once -x says that it is one.

The rule: read the arguments as the compilers do, left to right, response files replaced by what
they hold.  A source is C by -x or, without, by its suffix.  With -c each source's object is named
by -o or by the source.  Without, where a source is compiled and linked at once, no object is left.
Of a file whose suffix says nothing only the compiler knows whether it is a source (another
language's, or C with -ObjC) or the linker's: an object may come of it.  What Clang takes from
elsewhere isn't seen here at all; `takes_more` tells when there may be such.

Everything here runs before the compiler starts, three thousand times in a kernel build, so this
module imports nothing but what the interpreter has loaded anyway.

Source: GCC manual, 3.2 (options controlling the kind of output), 3.3 (``@file``); libiberty's
argv.c, of GCC 14 and of 15, and LLVM's CommandLine.cpp for response files; LLVM's Types.def; for
the lists of options GCC 12's --help=... and Clang 19's --autocomplete=-, each of their options
tried with -c.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing imports re and enum: as long as the interpreter's own start
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
    ("-I", "-D", "-U", "-A", "-B", "-F", "-L", "-T", "-e", "-l", "-u", "-z", "-G", "-h", "-R", "-b")
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
    + ("--dump", "--dumpbase", "--dumpbase-ext", "--dumpdir", "--specs", "--for-assembler")
    + ("--include-prefix", "--include-with-prefix", "--include-with-prefix-after", "-imultiarch")
    + ("--include-with-prefix-before", "--print-file-name", "--analyzer-output", "-ftrapv-handler")
    + ("-dependency-file", "-dependency-dot", "-module-dependency-dir", "-fdebug-compilation-dir")
    + ("-serialize-diagnostics", "-iframeworkwithsysroot", "-vfsoverlay", "--vfsoverlay")
    + ("-mthread-model", "-undefined", "-filelist", "-Xoffload-linker", "-fmodules-user-build-path")
    + ("-Xcuda-fatbinary", "-Xcuda-ptxas", "-gen-cdb-fragment-path", "-ccc-gcc-name")
    + ("-ccc-install-dir", "-iapinotes-modules")
)
# No object comes of these, whatever else is said.
NO_OBJECT = frozenset(
    ("-E", "-S", "-M", "-MM", "-fsyntax-only", "-###", "--preprocess", "--assemble")
    + ("--dependencies", "--user-dependencies", "--analyze", "-emit-llvm", "-cc1", "-cc1as")
    + ("--precompile", "-emit-ast", "--syntax-only", "--migrate", "-extract-api", "-fdriver-only")
    + ("-module-file-info", "-rewrite-objc", "-rewrite-legacy-objc", "-verify-pch")
    + ("--version", "-fversion", "--help", "-help", "-fhelp", "--help-hidden", "--target-help")
    + ("-ftarget-help", "-dumpversion", "-dumpfullversion", "-dumpmachine", "-dumpspecs")
    + ("-mcpu=help", "-mcpu=?", "-mtune=help", "-mtune=?")
)
QUESTIONS = ("-print-", "--print-", "-ccc-print-", "-fmodule-header")
NO_QUESTION = "--print-missing-file-dependencies"  # GCC's long name of -MG
# What GCC takes for a source of another language: Fortran, Ada, D, Go, Modula-2.
_OTHERS = frozenset(
    (".f", ".for", ".ftn", ".fpp", ".f90", ".f95", ".f03", ".f08", ".fii", ".adb", ".ads", ".d")
    + (".dd", ".di", ".go", ".mod")
)
# What Clang's frontend can do instead of making an object (``-Xclang``).
FRONTEND_ACTIONS = frozenset(
    ("-fsyntax-only", "-ast-dump", "-ast-dump-all", "-ast-dump-decl-types", "-ast-dump-lookups")
    + ("-ast-list", "-ast-view", "-analyze", "-dump-tokens", "-dump-raw-tokens", "-Eonly")
    + ("-emit-codegen-only", "-emit-llvm-only", "-emit-merged-ifs", "-fixit", "-init-only")
    + ("-plugin", "-print-preamble", "-print-dependency-directives-minimized-source")
    + ("-templight-dump", "-help", "-version", "-print-supported-cpus", "-analyzer-config-help")
    + ("-analyzer-checker-help", "-analyzer-checker-option-help", "-analyzer-list-enabled-checkers")
)
# Clang's options that only look like an -o with its value.
_NOT_OUTPUT = ("-objcmt-", "-object-file-name=")

_MOST_RESPONSE_FILES = 2000
"""As in libiberty: a file that names itself comes to an end."""


def response_files(
    arguments: Sequence[str], compiler: Sequence[str] = ()
) -> tuple[list[str], bool]:
    """The arguments with every ``@file`` replaced by what it holds, nested ones too.

    Where compilers split a file in two ways the compiler is asked which is its own: ``compiler``,
    or what it runs, whose name then comes first in ``arguments``.  Also says
    whether the compiler can read the same again: a pipe is empty after its first reader.  As in the
    compilers, a file that can't be read stays an argument of its own.
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
                split = words(text)
                if "\\" in text:  # nothing else is read in two ways
                    other = words(text, as_shell=True)
                    if other != split and _reads_as_shell([*compiler, *programs(arguments)]):
                        split = other
                left.extend(reversed(split))
                allowed -= 1
                continue
        expanded.append(argument)
    return expanded, again


def words(text: str, as_shell: bool = False) -> list[str]:
    """Split a response file at white space outside quotes.

    A backslash makes any next character ordinary, inside quotes of both kinds as well.  With
    ``as_shell`` it is as in a POSIX shell: in single quotes a backslash is a character like others,
    in double quotes too but before a dollar, a backquote, a double quote or another backslash, and
    at the end of a line it joins that to the next one.
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
        following = ""
        escapes = character == "\\" and not (as_shell and quote == "'")
        if escapes:
            following = next(characters, "")
            if as_shell and following == "\n":
                continue
        if word is None:
            word = []
        if escapes:
            kept = as_shell and quote and following not in '$`"\\'
            word.append(f"\\{following}" if kept else following)
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


def _reads_as_shell(compiler: Sequence[str]) -> bool:
    """Whether the compiler splits response files as a shell would: GCC 15 and later, not Clang."""
    return _gcc_version(compiler) >= 15


def _gcc_version(compiler: Sequence[str]) -> int:
    """GCC's major version, 0 where it is another compiler."""
    if not compiler:
        return 0
    import subprocess

    # Only GCC knows this option.
    asked = [*compiler, "-dumpfullversion"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, errors="replace", check=False)
    except (OSError, ValueError):
        return 0
    major = done.stdout.partition(".")[0]
    return int(major) if not done.returncode and major.isdecimal() else 0


def programs(arguments: Iterable[str]) -> list[str]:
    """The words at the start of ``arguments`` that name programs: behind ccache, a compiler."""
    found = []
    for word in arguments:
        is_file = os.path.isfile(word) and not os.access(word, os.X_OK)
        if (
            word.startswith(("-", "@"))
            or is_file
            or _kind(word, None)
            or _is_source_of_others(word)
        ):
            break
        found.append(word)
    return found


def is_plugin(argument: str) -> bool:
    """Whether the argument asks for kpatch's GCC plugin, whose work the wrapper does."""
    if argument.startswith(f"-fplugin-arg-{PLUGIN}-"):
        return True
    return argument.startswith("-fplugin=") and os.path.basename(argument[9:]) in (
        PLUGIN,
        f"{PLUGIN}.so",
    )


def plan(arguments: Iterable[str], assembly: bool = False) -> tuple[dict[str, bool], bool]:
    """What the compiler will make of ``arguments`` (response files already expanded).

    Returns the paths of objects from compiled sources (from assembly as well if ``assembly``), and
    whether a source is compiled and linked at once.  The value beside a path says whether the
    object is sure to come, or comes only if the compiler takes the file for a source.
    """
    compiles = False
    output = None
    language = None
    sources: list[tuple[str, str | None]] = []
    following = iter(arguments)
    for argument in following:
        if argument in NO_OBJECT or _is_question(argument):
            return {}, False
        if argument == "-o" or argument == "--output":
            output = next(following, None)
        elif argument == "-x" or argument == "--language":
            language = next(following, None)
        elif argument in SEPARATE:
            value = next(following, "")
            if argument == "-Xclang" and value.partition("=")[0] in FRONTEND_ACTIONS:
                return {}, False
        elif argument == "-c" or argument == "--compile":
            compiles = True
        elif argument == "--":  # Clang: only sources from here on
            sources += [(source, language) for source in following]
        elif not argument.startswith("-") or argument == "-":
            sources.append((argument, language))
        elif argument == "-object" or argument.startswith(_NOT_OUTPUT):
            continue
        elif argument.startswith("-o"):
            output = argument[2:]
        elif argument.startswith("--output="):
            output = argument[9:]
        elif argument.startswith("-x"):
            language = argument[2:]
        elif argument.startswith("--language="):
            language = argument[11:]
    kinds = [_kind(*source) for source in sources]
    if not compiles:
        others = any(
            kind == "" and (language or _is_source_of_others(source))
            for (source, language), kind in zip(sources, kinds, strict=True)
        )
        return {}, others or "C" in kinds or (assembly and "assembly" in kinds)
    wanted = {"C": True, "assembly": assembly, "": False}
    if output is not None:
        if not any(wanted[kind] for kind in kinds) and ("assembly" in kinds or not kinds):
            return {}, False
        path = "/dev/stdout" if output == "-" else output
        return {path: any(wanted[kind] for kind in kinds)}, False
    objects: dict[str, bool] = {}
    for (source, _), kind in zip(sources, kinds, strict=True):
        if kind != "assembly" or assembly:
            name = _object_name(source)
            objects[name] = objects.get(name, False) or wanted[kind]
    return objects, False


def _is_source_of_others(source: str) -> bool:
    return _suffix(source).lower() in _OTHERS


def _is_question(argument: str) -> bool:
    return argument.startswith(QUESTIONS) and argument != NO_QUESTION


def _kind(source: str, language: str | None) -> str:
    """Return "C" (C++ and Objective-C, too), "assembly", or "" where the compiler alone knows."""
    if language is None or language == "none":
        language = _suffix(source)
    if language in C_SUFFIXES or language in C_LANGUAGES:
        return "C"
    return "assembly" if language in ASSEMBLY_SUFFIXES or language in ASSEMBLY_LANGUAGES else ""


def takes_more(arguments: Iterable[str], environment: Mapping[str, str]) -> bool:
    """Whether the compiler, if it is Clang, takes arguments or a folder from elsewhere.

    Configuration files and the environment may name sources, -c and -o; -working-directory is where
    the object goes; the driver of cl names its output in its own way.
    """
    return "CCC_OVERRIDE_OPTIONS" in environment or any(
        argument.startswith(("--config", "-working-directory", "--driver-mode=cl"))
        for argument in arguments
    )


def _object_name(source: str) -> str:
    return os.path.basename(source).removesuffix(_suffix(source)) + ".o"


def _suffix(source: str) -> str:
    """What follows the last dot of a file's name, with it; "" where nothing is in front of it."""
    stem, dot, ending = os.path.basename(source).rpartition(".")
    return dot + ending if stem else ""


def is_gcc(command: Sequence[str]) -> bool | None:
    """Whether the command runs GCC, by its name, maybe through programs such as ccache.

    None where the names don't tell: cc, or the driver of another language.
    """
    for word in command:
        if word.startswith("-"):
            break
        name, dash, version = os.path.basename(word).rpartition("-")
        if not (dash and version and all(c.isdigit() or c == "." for c in version)):
            name = os.path.basename(word)
        name = name.rpartition("-")[2]
        if name in ("gcc", "g++"):
            return True
        if name in ("clang", "clang++"):
            return False
    return None


def is_rustc(command: Iterable[str]) -> bool:
    """Whether the command runs rustc, maybe through one such as ccache."""
    return any(os.path.basename(word) == "rustc" for word in command)


def turns_out_gcc(compiler: Sequence[str], arguments: Iterable[str]) -> bool:
    """Whether ``compiler``, or what it runs, says that it is GCC."""
    return _gcc_version([*compiler, *programs(arguments)]) > 0
