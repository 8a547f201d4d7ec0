"""From what the user asks for to a list of cases: sources x compilers x flags.

Besides folders, files and the corpora of `corpus.sources`, two more kinds of sources are known:

``csmith:FIRST-LAST``
    random programs with these seeds, made by csmith into the cache folder;
``kernel:DIR``
    a kernel that was built in DIR: each ``.x.o.cmd`` that kbuild left there says with which
    compiler flags ``x.c`` is compiled and which headers it reads.  The compiler and the flags of
    the matrix are added.

What a source includes is an input of its case too.  For a folder of the user's that is taken to be
every header in the folder; the test suite doesn't change.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nopfix.corpus import sources, toolchain
from nopfix.corpus.case import Case, content

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nopfix.corpus.matrix import Flags

#: csmith's own headers, as Debian's libcsmith-dev has them.
CSMITH_INCLUDE = "/usr/include/csmith"


_HEADER_SUFFIXES = frozenset({".h", ".hh", ".hpp", ".hxx", ".inc", ".def"})
#: The checks of a ready-made object: there is no assembly to compare it with.
_OBJECT_CHECKS = ("verify", "slots")
_DG_OPTIONS = re.compile(
    r"""\{\s*dg-(?:additional-)?options\s+["']([^"']*)["']\s*(?:\{\s*target\s+([^}]*)\})?"""
)
_OTHER_PURPOSE = re.compile(
    r"-[cSEvo]$|-g|-m(?:32|abi=|big|little|call-aixdesc)|-flto|-fdump|-fopt-info|-save-temps"
    r"|-O|-W|-w$|-fplugin|-fprofile|-fcompare-debug|-fdiagnostics|-fsyntax-only|-pedantic|-ansi|-l|[^-]"
)


class Source(NamedTuple):
    """One input: file, name in reports, the flags that it needs itself, where to compile it, a
    digest of what it may include.
    """

    path: Path
    name: str
    flags: tuple[str, ...] = ()
    folder: str = ""
    context: str = ""


def sources_of(corpus: str) -> Iterator[Source]:
    """Return the inputs of a corpus.  Raises sources.NoSources."""
    kind, _, rest = corpus.partition(":")
    if kind == "csmith":
        yield from _csmith(rest)
    elif kind == "kernel":
        yield from _kernel(Path(rest))
    else:
        tests = sources.of_the_testsuite(corpus)
        context = "" if tests else _digest(_headers(Path(corpus)))
        for path in sources.files(corpus):
            # The C torture tests are for any flags; the others say what they must be given.
            asks = tests and not corpus.startswith("gcc.c-torture")
            own = test_flags(path.read_text("utf-8", "replace")) if asks else ()
            yield Source(path, sources.name_of(path), own, context=context)


def _headers(place: Path) -> list[Path]:
    """Return what the sources in a folder, or a single source, may include."""
    if place.suffix == ".o":
        return []
    found = place.rglob("*") if place.is_dir() else place.resolve().parent.glob("*")
    return sorted(path for path in found if path.suffix in _HEADER_SUFFIXES and path.is_file())


def _digest(files: Iterable[Path]) -> str:
    """Return one digest of the contents of files that exist."""
    digest = hashlib.sha256()
    for path in files:
        if path.is_file():
            digest.update(f"{path}\0{content(path)}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


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
    if not first.isdigit() or not (last or first).isdigit():
        raise sources.NoSources(f"csmith:{seeds}: not a range of seeds, as in csmith:1-500")
    folder = sources.cache_folder() / "csmith"
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(int(first), int(last or first) + 1):
        path = folder / f"{seed}.c"
        if not path.exists():
            made = path.with_suffix(".tmp")
            # csmith leaves a platform.info where it runs.
            command = ["csmith", "--seed", str(seed), "--output", str(made)]
            done = toolchain.run(command, cwd=folder)
            if done.status or not made.exists():
                raise sources.NoSources(f"csmith --seed {seed}: {done.errors.strip()}")
            made.rename(path)
        yield Source(path, f"csmith-{seed}.c", ("-I", CSMITH_INCLUDE))


def _kernel(folder: Path) -> Iterator[Source]:
    commands = sorted(folder.rglob(".*.o.cmd"))
    if not commands:
        raise sources.NoSources(f"{folder}: no .o.cmd files; build the kernel there first")
    for file in commands:
        command, _, dependencies = file.read_text("utf-8", "replace").partition("\n")
        words = shlex.split(command.partition(":=")[2].split(";")[0])
        if not words or not words[-1].endswith(".c"):
            continue
        read = re.findall(r"^  ([^\s$]+)", dependencies, re.MULTILINE)
        yield Source(
            folder / words[-1], words[-1], tuple(_compile_flags(words[1:-1])),
            str(folder.resolve()), _digest(folder / name for name in read),
        )  # fmt: skip


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

    A ready-made object is one case with checks of its own, whatever the matrix says.  With `thin`,
    each source is compiled with that many of the flag lists only, taken in turn, so that every
    source and every list comes up all the same; the order is then shuffled (always in the same
    way), so that a run that is stopped has seen a bit of everything.

    Raises sources.NoSources and ToolError.
    """
    made: list[Case] = []
    compilers, flag_lists = list(compilers), list(flag_lists)
    for compiler in compilers:
        toolchain.compiler(compiler)
    for corpus in corpora:
        found = [one._replace(path=one.path.resolve()) for one in sources_of(corpus)]
        made.extend(
            Case(corpus, source.name, str(source.path), "", (), _OBJECT_CHECKS)
            for source in found
            if source.path.suffix == ".o"
        )
        for compiler in compilers:
            for number, flags in enumerate(flag_lists):
                made.extend(
                    Case(
                        corpus, source.name, str(source.path), compiler, flags, checks,
                        _understood(source.flags, compiler), source.folder, source.context, objects,
                    )
                    for source in found
                    if source.path.suffix != ".o"
                    and (not thin or _its_turn(source, compiler, number, len(flag_lists), thin))
                )  # fmt: skip
    if thin:
        made.sort(key=lambda one: zlib.crc32(f"{one.name} {one.compiler} {one.flags}".encode()))
    return list(dict.fromkeys(made))


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
