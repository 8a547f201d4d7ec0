"""One run: from what the user asks for to cases, and from results to an exit status.

Before anything is compiled, each compiler is asked whether it takes each option list.  One that it
doesn't take is left out and said once, with the compiler's own words; so is a check that lacks what
it needs.  A run in which a compiler refuses most of the sources says nothing about nopfix, and so
it fails.
"""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from nopfix.corpus import case, chroot, debugger, execution, matrix, plan, sources, toolchain
from nopfix.corpus.matrix import LeftOut
from nopfix.corpus.toolchain import Tools
from nopfix.corpus.verdicts import KINDS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from nopfix.corpus.case import Case, Result
    from nopfix.corpus.matrix import Flags

#: What is checked when nothing is said.
CHECKS = "oracle,slots"
#: What makes the matrix of a run: ``--resume`` takes it from the last one.
REMEMBERED = (
    "matrix", "corpus", "cc", "flags", "list", "check", "thin", "root", "assembler", "sources",
    "new_since",
)  # fmt: skip
#: Of a compiler's cases at least this part has to compile.
_LEAST_COMPILED = 0.5
#: An option list with which none of this many cases compiles is of no use.
_HOPELESS = 10


class UsageError(Exception):
    """Arguments that don't go together, or that take what isn't installed."""


class Planned(NamedTuple):
    """The cases of a run, the option lists that were left out, and remarks for the user."""

    cases: list[Case]
    left_out: list[LeftOut]
    remarks: list[str]


def planned(options: argparse.Namespace) -> Planned:
    """Return what the command line asks for.

    Raises UsageError, sources.NoSources, debian.AptError, chroot.RootError and ToolError.
    """
    corpora = _corpora(options)
    asked = [] if all(map(_is_ready_made, corpora)) else parts(options)
    chroot.show(options.root or "", _folders(corpora, options))
    used = [tools for part_tools, _ in asked for tools in part_tools]
    for tools in used:
        toolchain.compiler(tools)
    checks, remarks = _possible(_checks(options), used)
    left_out: list[LeftOut] = []
    matrices = [
        plan.Matrix(tools, tuple(_taken(tools, lists, left_out)), checks)
        for part_tools, lists in asked
        for tools in part_tools
    ]
    suite = plan.Suite(options.sources or "", options.new_since or "")
    kept = str(options.keep_objects.resolve()) if options.keep_objects else ""
    return Planned(
        plan.cases(corpora, matrices, suite, thin=options.thin, kept=kept), left_out, remarks
    )


def _is_ready_made(corpus: str) -> bool:
    """Say whether a corpus holds objects only, so that no compiler is needed."""
    return corpus.startswith("debian:")


def _corpora(options: argparse.Namespace) -> list[str]:
    asked = ["all"] if options.matrix else ["gcc.c-torture/execute"]
    return [name for one in options.corpus or asked for name in sources.expanded(one)]


def _folders(corpora: Iterable[str], options: argparse.Namespace) -> list[str]:
    """Return the folders that a compiler in a root has to see."""
    folders = [str(sources.cache_folder())] if sources.cache_folder().is_dir() else []
    if any(map(sources.of_the_testsuite, corpora)):
        folders.append(str(sources.suite_folder(options.sources or "")))
    for corpus in corpora:
        kind, _, rest = corpus.partition(":")
        if kind == "csmith":
            folders.append(plan.CSMITH_INCLUDE)
        elif kind == "kernel":
            folders.append(rest)
        else:
            folders += sources.folders_of(corpus)
    return folders


def _checks(options: argparse.Namespace) -> tuple[str, ...]:
    checks = tuple((options.check or CHECKS).split(","))
    if unknown := set(checks) - set(case.CHECKS):
        raise UsageError(f"no such check: {', '.join(sorted(unknown))}")
    return checks


def _possible(checks: tuple[str, ...], used: Iterable[Tools]) -> tuple[tuple[str, ...], list[str]]:
    """Return the checks that can be made, and what the others lack."""
    remarks = []
    if "qemu" in checks:
        for tools in used:
            if lacking := execution.missing(tools):
                # gdb looks at the programs that were run.
                checks = tuple(check for check in checks if check not in ("qemu", "gdb"))
                remarks = [f"the check qemu is left out; it needs {lacking}"]
                break
    if "gdb" in checks and (lacking := debugger.missing()):
        checks = tuple(check for check in checks if check != "gdb")
        remarks.append(f"the check gdb is left out; it needs {lacking}")
    return checks, remarks


def parts(options: argparse.Namespace) -> list[tuple[tuple[Tools, ...], list[Flags]]]:
    """Return which tools get which option lists.  Raises UsageError."""
    asked = [_tools(name, options) for name in options.cc or ()]
    given = [tuple(text.split()) for text in options.flags or ()]
    if not options.matrix:
        lists = given + [entry for name in options.list or () for entry in matrix.LISTS[name]]
        every = list(dict.fromkeys(lists or [("-O2",)]))
        return [(tuple(asked) or (_tools("gcc-12", options),), every)]
    made = []
    for part in matrix.MATRICES[options.matrix]:
        own = tuple(_tools(name, options) for name in part.compilers)
        used = tuple(one for one in asked if one.is_clang() == own[0].is_clang()) if asked else own
        lists = given + [entry for name in part.lists for entry in matrix.LISTS[name]]
        if used:
            made.append((used, list(dict.fromkeys(lists))))
    return made


def _tools(name: str, options: argparse.Namespace) -> Tools:
    return Tools(name, options.root or "", options.assembler or "")


def _taken(tools: Tools, lists: Iterable[Flags], left_out: list[LeftOut]) -> list[Flags]:
    """Return the option lists that a compiler takes; `left_out` gets the others.

    Raises UsageError when there is none left.
    """

    @functools.cache
    def knows(option: str) -> bool:
        return not toolchain.unknown_option(tools, (option,))

    every = list(dict.fromkeys(matrix.resolved(flags, knows) for flags in lists))
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda flags: toolchain.unknown_option(tools, flags), every))
    found = [
        LeftOut(tools.label(), " ".join(flags), message)
        for flags, message in zip(every, said, strict=True)
        if message
    ]
    if len(found) == len(every):
        raise UsageError(f"{tools.label()} takes none of the option lists: {found[0].message}")
    left_out += found
    return [flags for flags, message in zip(every, said, strict=True) if not message]


def uncompiled(results: Iterable[Result]) -> list[str]:
    """Say for which compilers and option lists too few cases compile to tell anything."""
    by_compiler: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in results:
        if result.compiler:
            by_compiler[result.compiler, ""].append(result)
            by_compiler[result.compiler, result.flags].append(result)
    found = []
    for (compiler, flags), group in by_compiler.items():
        refused = [one for one in group if KINDS[one.verdict].rank is None]
        least = _LEAST_COMPILED * len(group) if not flags else 1 if len(group) >= _HOPELESS else 0
        if len(group) - len(refused) < least:
            words = Counter(toolchain.first_error(one.detail) for one in refused)
            found.append(
                f"{compiler}{f' {flags}' if flags else ''}: {len(group) - len(refused)} of "
                f"{len(group)} cases compile: {words.most_common(1)[0][0]}"
            )
    return found
