"""Where the sources of the regression runs come from.

The corpora known by name are the folders of GCC's own test suite, taken from Debian's
``gcc-12-source`` package.  Its tarball is unpacked once, just the folders needed, into the cache
folder: ``$NOPFIX_CACHE``, else ``$XDG_CACHE_HOME/nopfix``, else ``~/.cache/nopfix``.  Any other
name is a folder (or a file) of the user's.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

TARBALL = Path("/usr/src/gcc-12/gcc-12.2.0-dfsg.tar.xz")
_TOP = "gcc-12.2.0"
_TESTSUITE = f"{_TOP}/gcc/testsuite"

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


def testsuite() -> Path:
    """Return GCC's testsuite folder, unpacking it on first use.  Raises NoSources."""
    cache = cache_folder()
    folder = cache / _TESTSUITE
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _unpack(folder)
    return folder


def _unpack(folder: Path) -> None:
    """Unpack beside the final place and rename, so that a folder that exists is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        members = [f"gcc/testsuite/{name}" for name in _UNPACKED]
        shutil.move(str(gcc_sources(Path(scratch), members) / "gcc/testsuite"), str(folder))


def gcc_sources(folder: Path, members: Iterable[str]) -> Path:
    """Unpack ``members`` of GCC's sources into ``folder``; return the sources' top folder.

    Raises NoSources.
    """
    if not TARBALL.is_file():
        raise NoSources(f"{TARBALL}: not there; install Debian's gcc-12-source")
    done = subprocess.run(
        ["tar", "-xf", str(TARBALL), "-C", str(folder), *(f"{_TOP}/{name}" for name in members)],
        stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise NoSources(f"{TARBALL}: {done.stderr.strip().splitlines()[-1]}")
    return folder / _TOP


def of_the_testsuite(corpus: str) -> bool:
    """Say whether a corpus is a part of GCC's testsuite that is unpacked here."""
    return any(corpus == name or corpus.startswith(name + "/") for name in _UNPACKED)


def expanded(corpus: str) -> tuple[str, ...]:
    """Return the corpora that a name on the command line stands for."""
    return CORPORA if corpus == "all" else _SEVERAL.get(corpus, (corpus,))


def files(corpus: str) -> list[Path]:
    """Return the source files of a corpus, by name or by path, sorted.

    Files that other sources include, and the later parts of tests of several files, are left in:
    whether a file compiles on its own is for the compiler to say.  Raises NoSources.
    """
    place = testsuite() / corpus if of_the_testsuite(corpus) else Path(corpus)
    if place.is_file():
        return [place]
    if not place.is_dir():
        known = ", ".join((*CORPORA, "gcc.c-torture", "g++.dg"))
        raise NoSources(f"{corpus}: no folder, and not one of {known}")
    wanted = SUFFIXES | {".o"}
    return sorted(path for path in place.rglob("*") if path.suffix in wanted and path.is_file())


def name_of(path: Path) -> str:
    """Return the short name of a source in reports: relative to the testsuite where it is in it."""
    text = str(path)
    marker = _TESTSUITE + "/"
    return text.split(marker, 1)[1] if marker in text else text
