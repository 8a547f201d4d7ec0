"""What -fno-optimize-sibling-calls changes beside the sibling calls.

The problem: a live patch is right only if the rebuilt code inlines what the running kernel inlined,
and the running kernel was compiled without that option.  GCC's pass that makes a loop of a function
that ends by calling itself comes early, before functions are inlined (pass_tail_recursion among
gcc/passes.def's early passes); the one that makes sibling calls comes last (pass_tail_calls).  So
only functions that call themselves should differ.  Here this is seen rather than believed.

Each C object of a kernel is compiled twice by the command that make kept beside it, with debug
information, without and with the option.  The two are the same when they have the same functions
(clones among them) and, by caller and callee, the same inlined subroutines (DW_AT_abstract_origin
of DW_TAG_inlined_subroutine).  An entry is left out where nothing of the subroutine's code is left,
so where entries differ the compiler itself is asked what it inlined (-fopt-info-inline).  What an
object came to is kept, so a run can be resumed.

    python -m tests.kpatch --kernel 6.1 inlining
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from tests.kernel.kernel_test import PREFIX, Failure, say
from tests.kpatch import kernels, subroutines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.kpatch.kernels import Kernel
    from tests.kpatch.root import Root

OPTION = "-fno-optimize-sibling-calls"
# Not part of the running kernel, or without a function of its own.
ELSEWHERE = ("arch/powerpc/boot/", "arch/powerpc/kernel/vdso/", "scripts/", "tools/", "usr/")
# What is said of the object otherwise: where it goes, what it depends on, its debug information.
OTHERWISE = ("-Wp,-MMD", "-Wp,-MD", "-g", "-fplugin=")


class Made(NamedTuple):
    """What two compilations are compared by: function symbols, and inlined subroutines.

    Each counted; an inlined subroutine is "caller <- callee".  ``code``: bytes of instructions.
    """

    functions: Counter[str]
    inlined: Counter[str]
    code: int


class Differences(NamedTuple):
    """Differences in functions that are inlined into themselves in one of the two, and others;
    ``entries`` are those of objects of which the compiler says that it inlined the same.
    """

    recursive: Sequence[str]
    other: Sequence[str]
    entries: Sequence[str] = ()


class Compared(NamedTuple):
    """How an object differs with the option; its bytes of code without and with it."""

    differences: Differences
    code: int
    having: int


class Command(NamedTuple):
    """How an object (by its name in the tree) is compiled: flags, and the source."""

    name: str
    flags: tuple[str, ...]
    source: str


def commands(tree: Path) -> list[Command]:
    """The commands that make kept for the C objects of a kernel's tree, by name."""
    return sorted(_commands(tree))


def _commands(tree: Path) -> Iterator[Command]:
    for kept in tree.rglob(".*.o.cmd"):
        name = str(kept.relative_to(tree).with_name(kept.name[1:-4]))
        line = kept.read_text(errors="replace").partition(":= ")[2].partition("\n")[0]
        words = shlex.split(line.partition(" ; ")[0])
        if name.startswith(ELSEWHERE) or not words or not words[-1].endswith(".c"):
            continue
        first = next(index for index, word in enumerate(words) if word.startswith("-"))
        flags = words[first:-1]
        if "-D__KERNEL__" not in flags:
            continue
        at = flags.index("-o")
        del flags[at : at + 2]
        wanted = [f for f in flags if f != "-c" and not f.startswith(OTHERWISE)]
        yield Command(name, tuple(wanted), words[-1])


def made(path: Path) -> Made:
    """What an object has of what is compared."""
    with path.open("rb") as stream:
        file = ELFFile(stream)
        symbols = file.get_section_by_name(".symtab").iter_symbols()
        functions = Counter(s.name for s in symbols if s["st_info"]["type"] == "STT_FUNC")
        sections = file.iter_sections()
        code = sum(s.data_size for s in sections if s["sh_flags"] & SH_FLAGS.SHF_EXECINSTR)
        return Made(functions, subroutines.inlined(file), code)


def differences(without: Made, having: Made) -> Differences:
    """How the object that was compiled with the option differs, a line each."""
    recursive = set()
    for made in (without, having):
        pairs = [what.split(" <- ") for what in made.inlined]
        recursive |= {callee for caller, callee in pairs if caller == callee}
    itself: list[str] = []
    other: list[str] = []
    for before, after in zip(without[:2], having[:2], strict=True):
        for what in sorted(before.keys() | after.keys()):
            if before[what] != after[what]:
                lines = itself if what.split(" <- ")[-1] in recursive else other
                lines.append(f"{what}: {before[what]}, with the option {after[what]}")
    return Differences(itself, other)


def compare(root: Root, kernel: Kernel, jobs: int) -> str:
    """All C objects of a kernel; raises Failure when one differs by more than calls of itself."""
    place = kernels.folders(root, kernel)
    work = place.source.with_name("inlining")
    work.mkdir(exist_ok=True)
    kept = work / "objects.json"
    known: dict[str, Compared] = {}
    if kept.exists():
        for name, (lines, *code) in json.loads(kept.read_text()).items():
            known[name] = Compared(Differences(*lines), *code)
    todo = [command for command in commands(place.source) if command.name not in known]
    with ThreadPoolExecutor(jobs) as pool:
        compared = pool.map(lambda command: _compare(root, kernel, work, command), todo)
        for command, one in zip(todo, compared, strict=True):
            known[command.name] = one
            kept.write_text(json.dumps(known, indent=1))
            for line in chain(*one.differences):
                say(f"{kernel.name}: {command.name}: {line}")
    return _summary(known)


def _summary(known: Mapping[str, Compared]) -> str:
    differing = [name for name, one in known.items() if any(one.differences[:2])]
    other = [name for name, one in known.items() if one.differences.other]
    code = sum(one.code for one in known.values())
    having = sum(one.having for one in known.values())
    said = (
        f"{len(known)} objects, {len(known) - len(differing)} the same with {OPTION}"
        f" ({code} bytes of code, {having} with it)"
    )
    if other:
        raise Failure(f"{said}; in more than calls of itself differ {', '.join(sorted(other))}")
    return f"{said}, {len(differing)} differ in functions that call themselves"


def _compare(root: Root, kernel: Kernel, work: Path, command: Command) -> Compared:
    """Compile an object without and with the option, and compare."""
    place = kernels.folders(root, kernel)
    results, inlined = [], []
    for options in ((), (OPTION,)):
        path = work / f"{command.name.replace('/', '-')}{'-with' if options else ''}"
        said = path.with_suffix(".inlined")
        words = (f"{PREFIX}gcc-{kernel.compiler}", "-w", *command.flags, "-g", *options)
        words += (f"-fopt-info-inline-optimized={said}", "-c", command.source, "-o", path)
        root.run(*words, log=place.log, cwd=place.source)
        results.append(made(path))
        inlined.append(decisions(said.read_text()))
        path.unlink()
        said.unlink()
    without, having = results
    found = differences(without, having)
    if inlined[0] == inlined[1] and without.functions == having.functions:
        found = Differences((), (), [*found.recursive, *found.other])
    return Compared(found, without.code, having.code)


def decisions(said: str) -> Counter[str]:
    """What GCC says that it inlined, each counted, without its own numbers of the functions."""
    return Counter(re.sub(r"/\d+", "", line) for line in said.splitlines())
