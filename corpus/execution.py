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

import functools
import re
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from nopfix.corpus import chroot, compare
from nopfix.corpus.toolchain import TARGET, TIMEOUT, ToolError, Tools, first_error, run

#: Where Debian's cross libc keeps its dynamic linker and libraries.
SYSROOT = f"/usr/{TARGET}"
#: The cross GCC without a version.
THIS_MACHINE = Tools("gcc")


class Outcome(NamedTuple):
    """What a program did: its exit status (negative: the signal) and all it wrote."""

    status: int
    output: bytes


def _driver(tools: Tools, cxx: bool) -> str:
    """Return the driver that links: the compiler's own where it is GCC, else any GCC of the target.

    Raises ToolError.
    """
    name = "g++" if cxx else "gcc"
    own = tools.compiler.replace("gcc", name) if re.fullmatch(r"gcc(-\d+)?", tools.compiler) else ""
    names = [own, name, *(f"{name}-{number}" for number in range(30, 4, -1))]
    for driver in (f"{TARGET}-{one}" for one in names if one):
        if chroot.which(driver, tools.root):
            return driver
    raise ToolError(f"{TARGET}-{name}: not installed{f' in {tools.root}' if tools.root else ''}")


def link(
    objects: list[Path],
    program: Path,
    tools: Tools = THIS_MACHINE,
    *,
    cxx: bool = False,
    static: bool = True,
) -> str:
    """Link `objects` into `program`; return the linker's complaint, "" when it linked."""
    how = "-static" if static else "-no-pie"
    words = [_driver(tools, cxx), how, *map(str, objects), "-lm", "-o", str(program)]
    done = run(words, cwd=program.parent, root=tools.root)
    return done.errors.strip() or "the linker failed" if done.status else ""


def emulator(root: str = "") -> list[str]:
    """Return the command that runs a ppc64le program: the root's qemu, else this machine's.

    Raises ToolError.
    """
    for place in dict.fromkeys((root, "")):
        for name in ("qemu-ppc64le", "qemu-ppc64le-static"):
            if chroot.which(name, place):
                return chroot.inside(place, [name, "-cpu", "power10", "-L", SYSROOT])
    raise ToolError("qemu-ppc64le: not installed")


@functools.cache
def linking(tools: Tools) -> Tools:
    """Return what links and runs the objects of `tools`: themselves, or this machine's GCC where a
    root has no libc of the target.
    """
    return THIS_MACHINE if tools.root and _missing(tools) else tools


def missing(tools: Tools) -> str:
    """Say what ``--check qemu`` lacks with these tools, "" when a program links and runs."""
    return _missing(linking(tools))


@functools.cache
def _missing(tools: Tools) -> str:
    with tempfile.TemporaryDirectory(prefix="nopfix-qemu-") as name:
        folder = Path(name)
        (folder / "main.s").write_text("\t.globl main\nmain:\n\tli 3,0\n\tblr\n")
        try:
            complaint = link([folder / "main.s"], folder / "main", tools)
            if complaint:
                said = first_error(complaint)
                return f"a static libc of the target (libc6-dev-ppc64el-cross): {said}"
            outcome = execute(folder / "main", root=tools.root)
        except ToolError as lacking:
            return f"{lacking} (gcc-powerpc64le-linux-gnu, libc6-dev-ppc64el-cross, qemu-user)"
    return f"a program that runs: qemu ended with {outcome.status}" if outcome.status else ""


def execute(program: Path, *, timeout: float = 20, root: str = "") -> Outcome:
    """Run a ppc64le program under qemu's user emulation; a timeout counts as status TIMEOUT."""
    try:
        done = subprocess.run(
            [*emulator(root), str(program)],
            cwd=program.parent, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=timeout, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Outcome(TIMEOUT, b"")
    return Outcome(done.returncode, done.stdout)


class Behaviour(NamedTuple):
    """Verdict of a run: "same", "changed", or why nothing could be told.

    That is "no-link", or what became of the program without any rewriting: "fails", "no-end".
    """

    verdict: str
    detail: str = ""


def same_behaviour(
    before: Path, after: Path, tools: Tools = THIS_MACHINE, *, cxx: bool = False
) -> Behaviour:
    """Link and run both objects and compare exit status and output.

    A program that doesn't link, or that fails or comes to no end without any rewriting, tells
    nothing.
    """
    folder = before.parent
    tools = linking(tools)
    complaint = link([before], folder / "before", tools, cxx=cxx)
    if complaint:
        return Behaviour("no-link", complaint)
    expected = execute(folder / "before", root=tools.root)
    if expected.status == TIMEOUT:
        return Behaviour("no-end", "no end after its time, untouched")
    if expected.status:
        return Behaviour("fails", f"status {expected.status} untouched")
    complaint = link([after], folder / "after", tools, cxx=cxx)
    if complaint:
        return Behaviour("changed", complaint)
    seen = execute(folder / "after", root=tools.root)
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
