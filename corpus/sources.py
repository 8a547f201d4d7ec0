"""Where the sources of the regression runs come from.

The corpora known by name are the folders of GCC's own test suite: of Debian's ``gcc-12-source``,
or of whichever GCC is named: by the folder of its sources, by their tarball, or by the Debian
package that holds it (``gcc-16-source``, or ``gcc-16-source@sid`` to have it fetched).  A tarball
is unpacked once, just the folders needed, into the cache folder: ``$NOPFIX_CACHE``, else
``$XDG_CACHE_HOME/nopfix``, else ``~/.cache/nopfix``.  Any other name is a folder (or a file) of the
user's.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from nopfix.corpus import objects

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The sources that are meant when nothing is said.
DEFAULT = "gcc-12-source"

#: What ``all`` stands for: folders of GCC's testsuite.
CORPORA = (
    "gcc.c-torture/execute",
    "gcc.c-torture/compile",
    "g++.dg/torture",
    "g++.dg/eh",
    "gcc.dg/torture",
    "gcc.target/powerpc",
)
_UNPACKED = ("gcc.c-torture", "g++.dg", "gcc.dg/torture", "gcc.target/powerpc")
_MARKER = "/gcc/testsuite/"
#: Names of the testsuite's own that stand for more than one of its folders.
_SEVERAL = {"gcc.c-torture": ("gcc.c-torture/execute", "gcc.c-torture/compile")}

SUFFIXES = frozenset({".c", ".C", ".cc", ".cpp", ".cxx"})


class NoSources(Exception):
    """The sources aren't there and can't be had; the text says what to install."""


def cache_folder() -> Path:
    """Return the folder for what is unpacked once (it need not exist)."""
    if own := os.environ.get("NOPFIX_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "nopfix"


def suite_folder(where: str = "") -> Path:
    """Return the testsuite folder of the GCC sources that `where` names, unpacking it on first use.

    Raises NoSources.
    """
    for folder in (Path(where, "gcc", "testsuite"), Path(where)) if where else ():
        if (folder / "gcc.c-torture").is_dir():
            return folder.resolve()
    archive = _tarball(where)
    cache = cache_folder()
    folder = cache / _name(archive) / "gcc" / "testsuite"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _unpack(archive, folder)
    return folder


def version(suite: Path) -> str:
    """Return the name of the sources that a testsuite folder is a part of ("gcc-12.2.0")."""
    return suite.parents[1].name


def _tarball(where: str = "") -> Path:
    """Return the tarball that `where` names, by path or by the package that holds it."""
    path = Path(where)
    if where and path.is_file():
        return path
    package, _, suite = (where or DEFAULT).partition("@")
    if "/" in package or not package.endswith("-source"):
        raise NoSources(f"{where}: no GCC sources: no folder of them, tarball or package")
    if suite:
        from nopfix.corpus import debian

        place = debian.unpacked(package, suite, "all")
    else:
        place = Path("/")
    folder = place / "usr/src" / package.removesuffix("-source")
    found = sorted(folder.glob("gcc-*.tar.*"))
    if not found:
        raise NoSources(
            f"{folder}: no tarball; install Debian's {package}, or name other sources with "
            f"--sources, like {package}@sid"
        )
    return found[0]


def _name(archive: Path) -> str:
    """Return the name of the sources in a tarball: its own without what packages add to it."""
    return re.sub(r"\.tar(\.\w+)?$|\.t\w+$", "", archive.name).removesuffix("-dfsg")


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack beside the final place and rename, so that a folder that exists is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        members = [f"gcc/testsuite/{name}" for name in _UNPACKED]
        _extract(archive, Path(scratch), members)
        shutil.move(str(Path(scratch, "gcc/testsuite")), str(folder))


def gcc_sources(folder: Path, members: Iterable[str], where: str = "") -> Path:
    """Unpack ``members`` of GCC's sources into ``folder``; return the sources' top folder.

    Raises NoSources.
    """
    archive = _tarball(where)
    top = folder / _name(archive)
    top.mkdir(exist_ok=True)
    _extract(archive, top, members)
    return top


def _extract(archive: Path, folder: Path, members: Iterable[str]) -> None:
    """Unpack `members`, named without the tarball's one top folder.  Raises NoSources."""
    command = ["tar", "-xf", str(archive), "-C", str(folder), "--strip-components=1"]
    patterns = [f"*/{name}" for name in members]
    done = subprocess.run(
        [*command, "--no-wildcards-match-slash", "--wildcards", *patterns],
        stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise NoSources(f"{archive}: {done.stderr.strip().splitlines()[-1]}")


def of_the_testsuite(corpus: str) -> bool:
    """Say whether a corpus is a part of GCC's testsuite that is unpacked here."""
    return any(corpus == name or corpus.startswith(name + "/") for name in _UNPACKED)


def expanded(corpus: str) -> tuple[str, ...]:
    """Return the corpora that a name on the command line stands for."""
    return CORPORA if corpus == "all" else _SEVERAL.get(corpus, (corpus,))


def folders_of(corpus: str) -> list[str]:
    """Return the folder that a corpus of the user's lies in, with what it may include."""
    place = Path(corpus)
    if of_the_testsuite(corpus) or not place.exists():
        return []
    return [str(place.resolve() if place.is_dir() else place.resolve().parent)]


def files(corpus: str, where: str = "") -> list[Path]:
    """Return the source files of a corpus, by name (of the GCC sources `where`) or by path, sorted.

    Files that other sources include, and the later parts of tests of several files, are left in:
    whether a file compiles on its own is for the compiler to say.  Raises NoSources.
    """
    place = suite_folder(where) / corpus if of_the_testsuite(corpus) else Path(corpus)
    if place.is_file():
        return [place]
    if not place.is_dir():
        known = ", ".join((*CORPORA, "gcc.c-torture", "g++.dg"))
        raise NoSources(f"{corpus}: no folder, and not one of {known}")
    return sorted(path for path in place.rglob("*") if is_input(path) and path.is_file())


def is_input(path: Path) -> bool:
    """Say whether a file is compiled, or an object (or holds some) as it is."""
    return path.suffix in SUFFIXES or objects.is_one(path)


def name_of(path: Path) -> str:
    """Return the short name of a source in reports: relative to the testsuite where it is in it."""
    text = str(path)
    return text.split(_MARKER, 1)[1] if _MARKER in text else text
