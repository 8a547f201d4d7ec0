"""Run what was rewritten: the same program before and after, and a call that leaves its module.

Two kinds of evidence that no comparison of bytes gives:

* `same_behaviour`: programs linked from the untouched and from the rewritten object end with the
  same status and the same output under qemu.
* `make_foreign`: the mission itself.  A function of the object is made undefined, its code comes
  from a shared library, and the linker has to find the slot behind each call of it: ``ld`` refuses
  a call without slot ("lacks nop, can't restore toc") and turns the slot into ``ld r2,24(r1)``
  otherwise.  With a callee that clobbers r2, the program runs right only if that was done.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from nopfix.corpus import compare
from nopfix.corpus.toolchain import TARGET, ToolError, run

if TYPE_CHECKING:
    from pathlib import Path

#: Where Debian's cross libc keeps its dynamic linker and libraries.
SYSROOT = f"/usr/{TARGET}"


class Outcome(NamedTuple):
    """What a program did: its exit status (negative: the signal) and all it wrote."""

    status: int
    output: bytes


def link(objects: list[Path], program: Path, *, cxx: bool = False, static: bool = True) -> str:
    """Link `objects` into `program`; return the linker's complaint, "" when it linked."""
    driver = f"{TARGET}-{'g++' if cxx else 'gcc'}"
    if shutil.which(driver) is None:
        raise ToolError(f"{driver}: not installed")
    how = "-static" if static else "-no-pie"
    done = run([driver, how, *map(str, objects), "-lm", "-o", str(program)])
    return done.errors.strip() or "the linker failed" if done.status else ""


def execute(program: Path, *, timeout: float = 20) -> Outcome:
    """Run a ppc64le program under qemu's user emulation; a timeout counts as status 124."""
    emulator = shutil.which("qemu-ppc64le") or shutil.which("qemu-ppc64le-static")
    if emulator is None:
        raise ToolError("qemu-ppc64le: not installed")
    try:
        done = subprocess.run(
            [emulator, "-cpu", "power10", "-L", SYSROOT, str(program)],
            cwd=program.parent, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=timeout, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Outcome(124, b"")
    return Outcome(done.returncode, done.stdout)


class Behaviour(NamedTuple):
    """Verdict of a run: "same", "changed", or why nothing could be told ("no-link", "fails")."""

    verdict: str
    detail: str = ""


def same_behaviour(before: Path, after: Path, *, cxx: bool = False) -> Behaviour:
    """Link and run both objects and compare exit status and output.

    A program that doesn't link, or fails without any rewriting, tells nothing.
    """
    folder = before.parent
    complaint = link([before], folder / "before", cxx=cxx)
    if complaint:
        return Behaviour("no-link", complaint)
    expected = execute(folder / "before")
    if expected.status:
        return Behaviour("fails", f"status {expected.status} untouched")
    complaint = link([after], folder / "after", cxx=cxx)
    if complaint:
        return Behaviour("changed", complaint)
    seen = execute(folder / "after")
    if seen == expected:
        return Behaviour("same")
    if seen.status != expected.status:
        return Behaviour("changed", f"status {seen.status}, untouched {expected.status}")
    return Behaviour("changed", "the output differs")


def make_foreign(data: bytes, name: str) -> bytes:
    """Return the object `data` with its global function `name` made undefined.

    The code stays where it is, without a name; calls of it go to whoever else defines `name`.
    Raises ValueError when there is no such global symbol.
    """
    elf = compare.read(data)
    (section_table,) = struct.unpack_from("<Q", data, 40)
    index = next(i for i, s in enumerate(elf.sections) if s.type == compare.SHT_SYMTAB)
    (offset,) = struct.unpack_from("<Q", data, section_table + 64 * index + 24)
    for number, symbol in enumerate(elf.symbols):
        if symbol.name == name and symbol.info >> 4 == 1:
            place = offset + 24 * number
            undefined = struct.pack("<BBHQQ", 0x10, 0, 0, 0, 0)
            return data[: place + 4] + undefined + data[place + 24 :]
    raise ValueError(f"no global symbol {name}")
