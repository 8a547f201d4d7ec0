"""From what the user asks for to a list of cases: sources x compilers x flags.

Besides folders, files and the corpora of `corpus.sources`, two more kinds of sources are known:

``csmith:FIRST-LAST``
    random programs with these seeds, made by csmith into the cache folder;
``kernel:DIR``
    a kernel that was built in DIR: each ``.x.o.cmd`` that kbuild left there says with which
    compiler flags ``x.c`` is compiled and which headers it reads.  The compiler and the flags of
    the matrix are added;
``debian:PACKAGE[@SUITE]``
    the objects in a package of Debian's for ppc64el: libraries, modules, single ones.

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

from nopfix.corpus import debian, objects, sources, toolchain
from nopfix.corpus.case import Case, content
from nopfix.corpus.toolchain import Tools

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nopfix.corpus.matrix import Flags

#: csmith's own headers, as Debian's libcsmith-dev has them.
CSMITH_INCLUDE = "/usr/include/csmith"
#: How long csmith may take for one program; most take less than a second.
CSMITH_SECONDS = 120.0


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


#: Options whose argument is a word of its own.
_TAKES_ARGUMENT = frozenset({"--param", "-G", "-D", "-I", "-U", "-include", "-isystem", "-x", "-o"})


class Source(NamedTuple):
    """One input: file, name in reports, the flags that it needs itself, where to compile it, a
    digest of what it may include; for an object of a library, where it is in there.
    """

    path: Path
    name: str
    flags: tuple[str, ...] = ()
    folder: str = ""
    context: str = ""
    offset: int = 0


class Suite(NamedTuple):
    """Which GCC's testsuite is meant: as `sources.testsuite` takes it, "" for the default one.

    With `new_since` only the files that those sources don't have.
    """

    where: str = ""
    new_since: str = ""


DEFAULT_SUITE = Suite()


class Matrix(NamedTuple):
    """What every source is compiled with: the tools, the flag lists, the checks."""

    tools: Tools
    flags: tuple[Flags, ...]
    checks: tuple[str, ...]


def sources_of(corpus: str, suite: Suite = DEFAULT_SUITE) -> Iterator[Source]:
    """Return the inputs of a corpus.  Raises sources.NoSources, debian.AptError."""
    kind, _, rest = corpus.partition(":")
    if kind == "csmith":
        yield from _csmith(rest)
    elif kind == "kernel":
        yield from _kernel(Path(rest))
    elif kind == "debian":
        package, _, release = rest.partition("@")
        yield from _objects_below(debian.unpacked(package, release), package)
    elif sources.of_the_testsuite(corpus):
        yield from _tests(corpus, suite)
    else:
        context = _digest(_headers(Path(corpus)))
        for path in sources.files(corpus):
            if objects.is_one(path):
                yield from _objects_in(path, str(path))
            else:
                yield Source(path, str(path), context=context)


def _tests(corpus: str, suite: Suite) -> Iterator[Source]:
    """Return the files of a part of GCC's testsuite."""
    known: frozenset[str] = frozenset()
    if suite.new_since:
        known = frozenset(map(sources.name_of, sources.files(corpus, suite.new_since)))
    for path in sources.files(corpus, suite.where):
        name = sources.name_of(path)
        if name in known or objects.is_one(path):
            continue
        # The C torture tests are for any flags; the others say what they must be given.
        asks = not corpus.startswith("gcc.c-torture")
        yield Source(path, name, test_flags(path.read_text("utf-8", "replace")) if asks else ())


def _objects_below(folder: Path, name: str) -> Iterator[Source]:
    """Return the objects in a package's files."""
    files = (path for path in sorted(folder.rglob("*")) if objects.is_one(path))
    found = False
    for path in files:
        if path.is_file() and not path.is_symlink():
            for one in _objects_in(path, f"{name}/{path.relative_to(folder)}"):
                found = True
                yield one
    if not found:
        needs = debian.depends(folder)
        more = f"; it depends on {needs}" if needs else ""
        raise sources.NoSources(f"{name}: the package holds no object for ppc64le{more}")


def _objects_in(path: Path, name: str) -> Iterator[Source]:
    for inner in objects.found_in(path):
        yield Source(path, f"{name}({inner.name})" if inner.name else name, offset=inner.offset)


def _headers(place: Path) -> list[Path]:
    """Return what the sources in a folder, or a single source, may include."""
    if objects.is_one(place):
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
            words = iter(options.split())
            for word in words:
                argument = [next(words, "")] if word in _TAKES_ARGUMENT else []
                if not _OTHER_PURPOSE.match(word):
                    found += [word, *argument]
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
            done = toolchain.run(command, cwd=folder, timeout=CSMITH_SECONDS)
            if done.status == toolchain.TIMEOUT:
                # Of a few seeds it makes nothing: a case that doesn't compile, and says why.
                made.write_text(f'#error "csmith --seed {seed}: {done.errors}"\n')
            elif done.status or not made.exists():
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
    matrices: Sequence[Matrix],
    suite: Suite = DEFAULT_SUITE,
    *,
    thin: int = 0,
    kept: str = "",
) -> list[Case]:
    """Return the cases of some matrices, in the order of the corpora, matrices and flags.

    A ready-made object is one case with checks of its own, whatever the matrix says.  With `thin`,
    each source is compiled with that many of the flag lists only, taken in turn, so that every
    source and every list comes up all the same; the order is then shuffled (always in the same
    way), so that a run that is stopped has seen a bit of everything.  `kept` is the folder that
    keeps what compilers made, "" for none.

    Raises sources.NoSources, debian.AptError and ToolError.
    """
    made: list[Case] = []
    for matrix in matrices:
        toolchain.compiler(matrix.tools)
    for corpus in corpora:
        found = [one._replace(path=one.path.resolve()) for one in sources_of(corpus, suite)]
        of_a_suite = found and sources.of_the_testsuite(corpus)
        origin = sources.version(sources.suite_folder(suite.where)) if of_a_suite else ""
        made.extend(_ready_made(corpus, source) for source in found if objects.is_one(source.path))
        texts = [source for source in found if not objects.is_one(source.path)]
        for tools, every, checks in matrices:
            for number, flags in enumerate(every):
                made.extend(
                    Case(
                        corpus, source.name, str(source.path), tools, flags, checks,
                        _understood(source.flags, tools), source.folder, source.context, kept,
                        origin,
                    )
                    for source in texts
                    if not thin or _its_turn(source, tools, (number, len(every)), thin)
                )  # fmt: skip
    if thin:
        made.sort(key=_shuffled)
    return list(dict.fromkeys(made))


def _ready_made(corpus: str, source: Source) -> Case:
    """Return the case of a ready-made object."""
    return Case(
        corpus, source.name, str(source.path), Tools(""), (), _OBJECT_CHECKS, offset=source.offset
    )


def _shuffled(one: Case) -> int:
    words = f"{one.name} {one.tools.compiler} {one.flags}"
    return zlib.crc32(words.encode("utf-8", "surrogateescape"))


def _understood(own: tuple[str, ...], tools: Tools) -> tuple[str, ...]:
    """Return a source's own flags as the compiler spells them."""
    if not tools.is_clang():
        return own
    words = iter(own)
    kept: list[str] = []
    for word in words:
        if word == "--param":
            next(words, None)
        elif not word.startswith("--param="):
            kept.append(word.replace("-mdejagnu-cpu=", "-mcpu="))
    return tuple(kept)


def _its_turn(source: Source, tools: Tools, turn: tuple[int, int], thin: int) -> bool:
    """Say whether the flag list of this `turn` (its number, of how many) is among the `thin` ones
    of this source.
    """
    number, lists = turn
    words = f"{source.name} {tools.compiler}".encode("utf-8", "surrogateescape")
    first = zlib.crc32(words) % lists
    return any((first + step * lists // thin) % lists == number for step in range(thin))
