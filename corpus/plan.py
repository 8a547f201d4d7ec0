"""From what the user asks for to a list of cases: sources x compilers x flags.

Besides folders, files and the corpora of `corpus.sources`, two more kinds of sources are known:

``csmith:FIRST-LAST``
    random programs with these seeds, made by csmith into the cache folder;
``kernel:DIR``
    a kernel that was built in DIR: each ``.x.o.cmd`` that kbuild left there says with which
    compiler flags ``x.c`` is compiled.  The compiler and the flags of the matrix are added.
"""

from __future__ import annotations

import re
import shlex
import shutil
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from corpus import sources, toolchain
from corpus.case import Case

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from corpus.matrix import Flags

#: csmith's own headers, as Debian's libcsmith-dev has them.
CSMITH_INCLUDE = "/usr/include/csmith"


#: The corpora whose files say themselves how they must be compiled.
_WITH_FLAGS = frozenset({"g++.dg/torture", "g++.dg/eh", "gcc.dg/torture", "gcc.target/powerpc"})
_DG_OPTIONS = re.compile(
    r"""\{\s*dg-(?:additional-)?options\s+["']([^"']*)["']\s*(?:\{\s*target\s+([^}]*)\})?"""
)
_OTHER_PURPOSE = re.compile(
    r"-[cSEvo]$|-g|-m(?:32|abi=|big|little|call-aixdesc)|-flto|-fdump|-fopt-info|-save-temps"
    r"|-O|-W|-w$|-fplugin|-fprofile|-fcompare-debug|-fdiagnostics|-fsyntax-only|-pedantic|-ansi|-l|[^-]"
)


class Source(NamedTuple):
    """One input: file, name in reports, the flags that it needs itself, where to compile it."""

    path: Path
    name: str
    flags: tuple[str, ...] = ()
    folder: str = ""


def sources_of(corpus: str) -> Iterator[Source]:
    """Return the inputs of a corpus.  Raises sources.NoSources."""
    kind, _, rest = corpus.partition(":")
    if kind == "csmith":
        yield from _csmith(rest)
    elif kind == "kernel":
        yield from _kernel(Path(rest))
    else:
        for path in sources.files(corpus):
            own = test_flags(path.read_text("utf-8", "replace")) if corpus in _WITH_FLAGS else ()
            yield Source(path, sources.name_of(path), own)


def test_flags(text: str) -> tuple[str, ...]:
    """Return the flags that a file of GCC's testsuite asks for in its ``dg-options``.

    Those for other targets are left out, and those that don't compile to an object, dump, or change
    what the matrix is about (debug information, link-time optimisation).
    """
    found: list[str] = []
    for options, selector in _DG_OPTIONS.findall(text):
        if not selector or "powerpc" in selector or "rs6000" in selector:
            found += [word for word in options.split() if not _OTHER_PURPOSE.match(word)]
    return tuple(found)


def _csmith(seeds: str) -> Iterator[Source]:
    if shutil.which("csmith") is None:
        raise sources.NoSources("csmith: not installed")
    first, _, last = seeds.partition("-")
    folder = sources.cache_folder() / "csmith"
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(int(first), int(last or first) + 1):
        path = folder / f"{seed}.c"
        if not path.exists():
            made = path.with_suffix(".tmp")
            # csmith leaves a platform.info where it runs.
            command = ["csmith", "--seed", str(seed), "--output", str(made)]
            toolchain.run(command, cwd=folder)
            made.rename(path)
        yield Source(path, f"csmith-{seed}.c", ("-I", CSMITH_INCLUDE))


def _kernel(folder: Path) -> Iterator[Source]:
    commands = sorted(folder.rglob(".*.o.cmd"))
    if not commands:
        raise sources.NoSources(f"{folder}: no .o.cmd files; build the kernel there first")
    for file in commands:
        line = file.read_text("utf-8", "replace").split("\n", 1)[0]
        words = shlex.split(line.partition(":=")[2].split(";")[0])
        if not words or not words[-1].endswith(".c"):
            continue
        source = folder / words[-1]
        yield Source(source, words[-1], tuple(_compile_flags(words[1:-1])), str(folder.resolve()))


def _compile_flags(words: list[str]) -> Iterator[str]:
    """Drop what names outputs from a compile command."""
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word == "-o":
            skip = True
        elif word != "-c" and not word.startswith(("-Wp,-MMD", "-Wp,-MD", "-fplugin")):
            yield word


def cases(
    corpora: Iterable[str],
    compilers: Iterable[str],
    flag_lists: Iterable[Flags],
    checks: tuple[str, ...],
    *,
    thin: int = 0,
    objects: str = "",
) -> list[Case]:
    """Return the cases of a matrix, in the order of the corpora, compilers and flags.

    A ready-made object is one case, whatever the matrix says.  With `thin`, each source is compiled
    with that many of the flag lists only, taken in turn, so that every source and every list comes
    up all the same; the order is then shuffled (always in the same way), so that a run that is
    stopped has seen a bit of everything.  Raises sources.NoSources and ToolError.
    """
    made: list[Case] = []
    compilers, flag_lists = list(compilers), list(flag_lists)
    for compiler in compilers:
        toolchain.compiler(compiler)
    for corpus in corpora:
        found = [one._replace(path=one.path.resolve()) for one in sources_of(corpus)]
        made.extend(
            Case(corpus, source.name, str(source.path), "", (), checks)
            for source in found
            if source.path.suffix == ".o"
        )
        for compiler in compilers:
            for number, flags in enumerate(flag_lists):
                made.extend(
                    Case(
                        corpus, source.name, str(source.path), compiler, flags, checks,
                        _understood(source.flags, compiler), source.folder, objects,
                    )
                    for source in found
                    if source.path.suffix != ".o"
                    and (not thin or _its_turn(source, compiler, number, len(flag_lists), thin))
                )  # fmt: skip
    if thin:
        made.sort(key=lambda one: zlib.crc32(f"{one.name} {one.compiler} {one.flags}".encode()))
    return made


def _understood(own: tuple[str, ...], compiler: str) -> tuple[str, ...]:
    """Return a source's own flags as `compiler` spells them."""
    if not toolchain.is_clang(compiler):
        return own
    return tuple(
        flag.replace("-mdejagnu-cpu=", "-mcpu=") for flag in own if not flag.startswith("--param")
    )


def _its_turn(source: Source, compiler: str, number: int, lists: int, thin: int) -> bool:
    """Say whether flag list `number` of `lists` is among the `thin` ones of this source."""
    first = zlib.crc32(f"{source.name} {compiler}".encode("utf-8", "surrogateescape")) % lists
    return any((first + turn * lists // thin) % lists == number for turn in range(thin))
