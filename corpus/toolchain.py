"""The compilers and assemblers that make a case's files: what to call, and with which flags.

A short name (``gcc-12``, ``clang-19``, ``gcc``) stands for the cross compiler for ppc64le; anything
with a ``/`` or with ``powerpc64le`` in it is taken as the command itself.  The assembler must get
just the flags that the compiler driver would give it for the same compile (-mpower8, -many,
--compress-debug-sections ...), so the driver is asked once per list of flags with ``-###``.
"""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

TARGET = "powerpc64le-linux-gnu"
#: What the old C in the compilers' test suites needs from a compiler that made it an error.
LENIENT = (
    "-Wno-implicit-int",
    "-Wno-implicit-function-declaration",
    "-Wno-int-conversion",
    "-Wno-incompatible-function-pointer-types",
    "-Wno-return-mismatch",
)
CXX_SUFFIXES = frozenset({".C", ".cc", ".cpp", ".cxx", ".c++"})


class ToolError(Exception):
    """A tool that the case needs is missing or couldn't be asked."""


class Run(NamedTuple):
    """What became of one command: its exit status and what it wrote to stderr."""

    status: int
    errors: str


def run(command: list[str], *, cwd: Path | None = None, timeout: float = 120) -> Run:
    """Run a tool, its output thrown away but for stderr.  A timeout counts as status 124."""
    try:
        done = subprocess.run(
            command, cwd=cwd, timeout=timeout, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Run(124, f"{command[0]}: no end after {timeout} s")
    return Run(done.returncode, done.stderr.decode("utf-8", "replace"))


@functools.cache
def compiler(name: str) -> tuple[str, ...]:
    """Return the command that `name` stands for.  Raises ToolError when it isn't installed."""
    if "/" in name or TARGET in name:
        command: tuple[str, ...] = tuple(shlex.split(name))
    elif name.startswith("clang"):
        command = (name, f"--target={TARGET}")
    else:
        command = (f"{TARGET}-{name}",)
    if shutil.which(command[0]) is None:
        raise ToolError(f"{command[0]}: not installed")
    return command


def is_clang(name: str) -> bool:
    """Say whether the compiler's own assembler is LLVM's."""
    return "clang" in Path(name.split()[0]).name


@functools.cache
def version(name: str) -> str:
    """Return the first line of the compiler's ``--version``."""
    done = subprocess.run(
        [*compiler(name), "--version"], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[0]


@functools.cache
def assembler_version(name: str) -> str:
    """Return the first line of the ``--version`` of the compiler's assembler (clang is its own)."""
    if is_clang(name):
        return version(name)
    command = assembler(name, ())[0]
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


@functools.cache
def assembler(name: str, flags: tuple[str, ...]) -> tuple[str, ...]:
    """Return the assembler command of compiler `name` for a compile with `flags`, without the
    file names: ``-o OUT IN`` is to be added.
    """
    command = compiler(name)
    source = ["-x", "assembler", os.devnull] if is_clang(name) else ["x.c"]
    asked = subprocess.run(
        [*command, "-###", "-c", *flags, *source], capture_output=True, text=True, check=False
    )
    for line in asked.stderr.splitlines():
        words = shlex.split(line) if line.lstrip()[:1] in ('"', "/") else []
        if words and is_clang(name) and "-cc1as" in words:
            return _without_files([w for w in words if not w.startswith("-debug-info-kind")])
        if words and not is_clang(name) and Path(words[0]).name.split("-")[-1] == "as":
            return _without_files(words)
    raise ToolError(f"{' '.join(command)} -### names no assembler for {' '.join(flags)}")


def _without_files(words: list[str]) -> tuple[str, ...]:
    """Drop ``-o OUT`` and the input, which both drivers put last."""
    kept: list[str] = []
    skip = False
    for word in words[:-1]:
        if skip or word == "-o":
            skip = word == "-o"
            continue
        kept.append(word)
    return tuple(kept)


def compile_command(name: str, flags: tuple[str, ...], source: Path, output: Path) -> list[str]:
    """Return the command that compiles `source` to assembly at `output`."""
    command = list(compiler(name))
    debug = any(flag.startswith("-g") and flag != "-g0" for flag in flags)
    extra = LENIENT if is_clang(name) else ("-dA",) if debug else ()
    return [*command, "-w", *extra, *flags, "-S", str(source), "-o", str(output)]


def binutil(tool: str) -> str:
    """Return the command of a binutils program for the target (``ld``, ``objdump`` ...)."""
    command = f"{TARGET}-{tool}"
    if shutil.which(command) is None:
        raise ToolError(f"{command}: not installed")
    return command
