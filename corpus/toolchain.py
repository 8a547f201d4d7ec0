"""The compilers and assemblers that make a case's files: what to call, and with which flags.

A short name (``gcc-12``, ``clang-19``, ``gcc``) stands for the cross compiler for ppc64le; anything
with a ``/`` or with ``powerpc64le`` in it is taken as the command itself.  It may live in another
system's folder (corpus.chroot).  The assembler must get just the flags that the compiler driver
would give it for the same compile (-mpower8, -many, --compress-debug-sections ...), so the driver
is asked once per list of flags with ``-###``.

Test suites hold old C, which newer compilers refuse unless they are told otherwise.  What a
compiler has to be told is found by giving it some (`lenient`).
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from nopfix.corpus import chroot

TARGET = "powerpc64le-linux-gnu"
#: What clang and GCC are told, in turn, until they take `_OLD_C`.  GCC 14 made errors of what old C
#: does, GCC 15 defaults to C23, which has no functions without prototypes.
_LENIENT = {
    "clang": (
        "-Wno-implicit-int",
        "-Wno-implicit-function-declaration",
        "-Wno-int-conversion",
        "-Wno-incompatible-function-pointer-types",
        "-Wno-return-mismatch",
    ),
    "gcc": ("-fpermissive",),
}
_OLD_C = """
f (x) { return g (x) + 1; }
char *h (x) char *x; { x = k (x); return 1; }
int k () { return f (2) + f (3); }
int m ();
int n () { return m (1); }
"""
#: One function, which needs its TOC, so that it has two entries.
_SMALL = "extern int x;\nint f(void) { return x; }\n"
CXX_SUFFIXES = frozenset({".C", ".cc", ".cpp", ".cxx", ".c++"})


class Tools(NamedTuple):
    """What compiles and assembles a case, by name.

    `compiler` as the user names it, "" for ready-made objects; `root` is the folder of the system
    that it lives in, with the binutils and qemu of that system, "" for this one; `assembler` is a
    command in place of the assembler that the compiler calls, "" for that one.
    """

    compiler: str
    root: str = ""
    assembler: str = ""

    def label(self) -> str:
        """Return the name for reports: ``gcc-16``, ``gcc-16@sid``, ``gcc-12+as-new``."""
        place = f"@{Path(self.root).name}" if self.root else ""
        return self.compiler + place + (f"+{Path(self.assembler).name}" if self.assembler else "")

    def is_clang(self) -> bool:
        """Say whether the compiler is clang, which has an assembler of its own."""
        return "clang" in Path((self.compiler.split() or [""])[0]).name

    def assembles_itself(self) -> bool:
        """Say whether the assembler is clang's own."""
        return self.is_clang() and not self.assembler


class ToolError(Exception):
    """A tool that the case needs is missing or couldn't be asked."""


#: The status of a command that was ended because it took too long, as timeout(1) has it.
TIMEOUT = 124


class Run(NamedTuple):
    """What became of one command: its exit status and what it wrote to stderr."""

    status: int
    errors: str


def run(
    command: list[str], *, cwd: Path | None = None, timeout: float = 120, root: str = ""
) -> Run:
    """Run a tool in `root`, its output thrown away but for stderr; a timeout is TIMEOUT."""
    try:
        done = subprocess.run(
            chroot.inside(root, command, cwd or "/"), cwd=cwd, timeout=timeout,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            check=False, env=os.environ | {"LC_ALL": "C"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Run(TIMEOUT, f"{command[0]}: no end after {timeout} s")
    return Run(done.returncode, done.stderr.decode("utf-8", "replace"))


def _asked(tools: Tools, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a tool for what it says, wherever that is."""
    return subprocess.run(
        chroot.inside(tools.root, command), capture_output=True, text=True, check=False,
        env=os.environ | {"LC_ALL": "C"},
    )  # fmt: skip


def found(program: str, root: str = "") -> str:
    """Return `program`.  Raises ToolError when it isn't installed (in `root`)."""
    if chroot.which(program, root) is None:
        raise ToolError(f"{program}: not installed{f' in {root}' if root else ''}")
    return program


@functools.cache
def compiler(tools: Tools) -> tuple[str, ...]:
    """Return the compiler's command.  Raises ToolError when it isn't installed."""
    name = tools.compiler
    if "/" in name or "powerpc64le" in name:
        command: tuple[str, ...] = tuple(shlex.split(name))
    elif name.startswith("clang"):
        command = (name, f"--target={TARGET}")
    else:
        command = (f"{TARGET}-{name}",)
    found(command[0], tools.root)
    return command


@functools.cache
def version(tools: Tools) -> str:
    """Return the first line of the compiler's ``--version``.  Raises ToolError."""
    return _first_line(tools, list(compiler(tools)))


@functools.cache
def assembler_version(tools: Tools) -> str:
    """Return the first line of the assembler's ``--version`` (clang is its own)."""
    if tools.assembles_itself():
        return version(tools)
    return _first_line(tools, [assembler(tools, ())[0]])


def _first_line(tools: Tools, command: list[str]) -> str:
    done = _asked(tools, [*command, "--version"])
    if done.returncode or not done.stdout:
        raise ToolError(f"{shlex.join(command)} --version: status {done.returncode}")
    return done.stdout.splitlines()[0]


def _for_assembly(tools: Tools, flags: tuple[str, ...]) -> tuple[str, ...]:
    """Return `flags` as they are for a compile whose assembly the tools' assembler gets."""
    return ("-fno-integrated-as", *flags) if tools.is_clang() and tools.assembler else flags


@functools.cache
def assembler(tools: Tools, flags: tuple[str, ...]) -> tuple[str, ...]:
    """Return the assembler command for a compile with `flags`, without the file names: ``-o OUT
    IN`` is to be added.  Raises ToolError.
    """
    command = compiler(tools)
    itself = tools.assembles_itself()
    # An input that exists: GCC up to 10 names no commands else.
    source = ["-x", "assembler" if itself else "c", os.devnull]
    asked = _asked(tools, [*command, "-###", "-c", *_for_assembly(tools, flags), *source])
    for line in asked.stderr.splitlines():
        words = shlex.split(line) if line.lstrip()[:1] in ('"', "/") else []
        if words and itself and "-cc1as" in words:
            return _without_files([w for w in words if not w.startswith("-debug-info-kind")])
        if words and not itself and _IS_ASSEMBLER.search(words[0]):
            own = shlex.split(tools.assembler) or words[:1]
            found(own[0], tools.root)
            return (*own, *_without_files(words)[1:])
    why = f": {asked.stderr.strip().splitlines()[-1]}" if asked.returncode and asked.stderr else ""
    raise ToolError(f"{shlex.join(command)} -### names no assembler for {' '.join(flags)}{why}")


_IS_ASSEMBLER = re.compile(r"(?:^|[-/])as$")


def _without_files(words: list[str]) -> tuple[str, ...]:
    """Drop ``-o OUT`` and the input, a file of the driver's own making or the empty one."""
    kept: list[str] = []
    skip = False
    for word in words:
        if word == os.devnull or (word.endswith(".s") and word[0] != "-"):
            continue
        if skip or word in ("-o", "-split-dwarf-output"):
            skip = not skip
            continue
        kept.append(word)
    return tuple(kept)


def splits_itself(tools: Tools, flags: tuple[str, ...]) -> bool:
    """Say whether the assembler writes split DWARF into a file of its own, as clang's does."""
    return tools.assembles_itself() and splits(flags)


def splits(flags: tuple[str, ...]) -> bool:
    """Say whether `flags` ask for split DWARF in a file of its own."""
    return "-gsplit-dwarf" in flags or "-gsplit-dwarf=split" in flags


@functools.cache
def lenient(tools: Tools) -> tuple[str, ...]:
    """Return what the compiler has to be told to take old C, () when nothing helps or is needed.

    Raises ToolError.
    """
    told = _LENIENT["clang" if tools.is_clang() else "gcc"]
    with tempfile.TemporaryDirectory(prefix="nopfix-old-c-") as name:
        source = Path(name, "old.c")
        source.write_text(_OLD_C)
        for flags in ((), told, ("-std=gnu17", *told)):
            command = [*compiler(tools), "-w", *flags, "-S", "-o", f"{name}/old.s", str(source)]
            if not run(command, cwd=Path(name), root=tools.root).status:
                return flags
    return ()


def compile_command(tools: Tools, flags: tuple[str, ...], source: Path, output: Path) -> list[str]:
    """Return the command that compiles `source` to assembly at `output`."""
    debug = any(flag.startswith("-g") and flag != "-g0" for flag in flags)
    extra = () if source.suffix in CXX_SUFFIXES else lenient(tools)
    if debug and not tools.is_clang():
        extra = (*extra, "-dA")
    words = (*compiler(tools), "-w", *extra, *_for_assembly(tools, flags))
    return [*words, "-S", str(source), "-o", str(output)]


def unknown_option(tools: Tools, flags: tuple[str, ...]) -> str:
    """Return what the compiler or its assembler says against `flags`, "" when it takes them.

    A small file is compiled and assembled: what is wrong with that is wrong with every source.
    """
    with tempfile.TemporaryDirectory(prefix="nopfix-options-") as name:
        folder = Path(name)
        source, text = folder / "small.c", folder / "small.s"
        source.write_text(_SMALL)
        done = run(compile_command(tools, flags, source, text), cwd=folder, root=tools.root)
        if not done.status:
            words = [*assembler(tools, flags), "-o", str(folder / "small.o"), str(text)]
            done = run(words, cwd=folder, root=tools.root)
        return first_error(done.errors) if done.status else ""


def first_error(text: str) -> str:
    """Return the first line of what a tool wrote that says what was wrong."""
    lines = text.strip().splitlines() or ["no message"]
    return next(
        (line for line in lines if re.search(r"\berror\b|\bsorry\b", line, re.IGNORECASE)), lines[0]
    )


def binutil(tool: str, root: str = "") -> str:
    """Return the command of a binutils program for the target (``ld``, ``objdump`` ...).

    Raises ToolError.
    """
    return found(f"{TARGET}-{tool}", root)
