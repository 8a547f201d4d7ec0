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
    python -m tests.kpatch --kernel 6.1 inlining-defconfig
"""

from __future__ import annotations

import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from nopfix.rewriter.power.instruction import branch_displacement, is_call
from nopfix.rewriter.power.relocation import REL24
from tests.kernel.kernel_test import PREFIX, Failure, say
from tests.kpatch import commands, kernels, subroutines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set
    from pathlib import Path

    from elftools.elf.sections import Symbol

    from tests.kpatch.commands import Command
    from tests.kpatch.kernels import Kernel
    from tests.kpatch.root import Root

OPTION = "-fno-optimize-sibling-calls"
CALLS = " <- "
LOCAL_ENTRY = 8  # bytes behind the global one, where there are two


class Made(NamedTuple):
    """What two compilations are compared by: function symbols, and inlined subroutines.

    Each counted; an inlined subroutine is "caller <- callee", or longer (`subroutines.inlined`).
    ``code``: bytes of instructions; ``recursive``: functions with a call of themselves.
    """

    functions: Counter[str]
    inlined: Counter[str]
    code: int
    recursive: frozenset[str]


class Differences(NamedTuple):
    """Differences in or around functions that call themselves in one of the two, and others;
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


def made(path: Path) -> Made:
    """What an object has of what is compared."""
    with path.open("rb") as stream:
        file = ELFFile(stream)
        symbols = list(file.get_section_by_name(".symtab").iter_symbols())
        functions = [symbol for symbol in symbols if symbol["st_info"]["type"] == "STT_FUNC"]
        names = Counter(symbol.name for symbol in functions)
        within: dict[int, list[Symbol]] = {}
        for one in functions:
            within.setdefault(one["st_shndx"], []).append(one)
        code, recursive = 0, set[str]()
        for number, section in enumerate(file.iter_sections()):
            if section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR:
                code += section.data_size
                data, named = section.data(), _named(file, section.name, symbols)
                own = within.get(number, ())
                recursive |= {one.name for one in own if _calls_itself(data, one, named)}
        # A clone's name is that of what it was made from, a point, and what was done.
        sources = frozenset(name.partition(".")[0] for name in recursive)
        return Made(names, subroutines.inlined(file), code, sources)


def _named(file: ELFFile, section: str, symbols: Sequence[Symbol]) -> Mapping[int, Symbol]:
    """What the branches of a section lead to by relocation, by their place."""
    relocations = file.get_section_by_name(f".rela{section}")
    return {
        relocation["r_offset"]: symbols[relocation["r_info_sym"]]
        for relocation in (relocations.iter_relocations() if relocations else ())
        if relocation["r_info_type"] == REL24
    }


def _calls_itself(data: bytes, function: Symbol, named: Mapping[int, Symbol]) -> bool:
    """Whether a `bl` of the function leads to one of its entries, by relocation or without."""
    begin, size = function["st_value"], function["st_size"]
    for place in range(begin, begin + size, 4):
        word = int.from_bytes(data[place : place + 4], "little")
        if is_call(word):
            if place in named:
                itself = named[place].name == function.name
            else:
                target = place + (branch_displacement(word) or 0)
                itself = target in (begin, begin + LOCAL_ENTRY)
            if itself:
                return True
    return False


def differences(without: Made, having: Made) -> Differences:
    """How the object that was compiled with the option differs, a line each.

    What differs no more without the functions that call themselves, their clones and all that is
    inlined into a copy of one, is due to these.
    """
    recursive: set[str] = set()
    for made in (without, having):
        recursive |= made.recursive
        for what in made.inlined:
            recursive |= {one for one, other in pairwise(what.split(CALLS)) if one == other}
    itself: list[str] = []
    other: list[str] = []
    for before, after in zip(without[:2], having[:2], strict=True):
        rest = [_by_ends(_but_for(recursive, counted)) for counted in (before, after)]
        old, new = _by_ends(before), _by_ends(after)
        for what in sorted(old.keys() | new.keys()):
            if old[what] != new[what]:
                lines = itself if rest[0][what] == rest[1][what] else other
                lines.append(f"{what}: {old[what]}, with the option {new[what]}")
    return Differences(itself, other)


def _by_ends(counted: Counter[str]) -> Counter[str]:
    """What is inlined, by the function that it ends up in: "caller <- callee"."""
    found: Counter[str] = Counter()
    for what, times in counted.items():
        names = what.split(CALLS)
        found[CALLS.join((names[0], *names[1:][-1:]))] += times
    return found


def _but_for(functions: Set[str], counted: Counter[str]) -> Counter[str]:
    """What names none of some functions, nor a clone of one ("name.part.0")."""
    return Counter(
        {
            what: times
            for what, times in counted.items()
            if functions.isdisjoint(name.partition(".")[0] for name in what.split(CALLS))
        }
    )


def compare(root: Root, kernel: Kernel, jobs: int, *, whole: bool = False) -> str:
    """All C objects of a kernel, of `commands.DEFCONFIG` where ``whole``; says how many differ.

    Raises Failure when one differs by more than calls of itself.
    """
    log = kernels.folders(root, kernel).log
    tree = commands.defconfig(root, kernel, jobs) if whole else kernels.folders(root, kernel).source
    work = tree.with_name("inlining")
    work.mkdir(exist_ok=True)
    kept = work / "objects.json"
    known: dict[str, Compared] = {}
    if kept.exists():
        for name, (lines, *code) in json.loads(kept.read_text()).items():
            known[name] = Compared(Differences(*lines), *code)
    todo = [command for command in commands.commands(tree) if command.name not in known]
    if whole:  # any part of it that is done when the run is stopped stands for the rest
        todo.sort(key=lambda command: crc32(command.name.encode()))
    with ThreadPoolExecutor(jobs) as pool:
        compared = pool.map(lambda one: _compare(root, kernel, (tree, work, log), one), todo)
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


def _compare(
    root: Root, kernel: Kernel, places: tuple[Path, Path, Path], command: Command
) -> Compared:
    """Compile an object without and with the option, and compare; ``places``: tree, work, log."""
    tree, work, log = places
    results, inlined = [], []
    compiler = (f"{PREFIX}gcc-{kernel.compiler}", "-w", *command.flags, "-g")
    text = work / f"{command.name.replace('/', '-')}.i"  # a third of what a compilation takes
    root.run(*compiler, "-E", command.source, "-o", text, log=log, cwd=tree)
    for options in ((), (OPTION,)):
        path = text.with_suffix(".with.o" if options else ".o")
        said = path.with_suffix(".inlined")
        words = (*compiler, *options, f"-fopt-info-inline-optimized={said}", "-c", text, "-o", path)
        root.run(*words, log=log, cwd=tree)
        results.append(made(path))
        inlined.append(decisions(said.read_text()))
        path.unlink()
        said.unlink()
    text.unlink()
    without, having = results
    found = differences(without, having)
    if inlined[0] == inlined[1] and without.functions == having.functions:
        found = Differences((), (), [*found.recursive, *found.other])
    return Compared(found, without.code, having.code)


def decisions(said: str) -> Counter[str]:
    """What GCC says that it inlined, each counted, without its own numbers of the functions."""
    return Counter(re.sub(r"/\d+", "", line) for line in said.splitlines())
