"""Run programs with rewritten static libraries, and compare what they print.

    python -m tests.programs [--only NAME...] [--jobs N] [--keep FOLDER]

The libraries are Debian's for ppc64el: libc, libm, libgcc, libgcc_eh, libstdc++, libcrypto, libssl,
libsqlite3, libz, libgmp, and the start files beside them.  All members of each are rewritten, and
the objects of the programs (sources/, C and C++, by GCC and clang); each program is linked
statically with the old ones and with the new ones, and both run under qemu-ppc64le.  It passes
where both print the same and end with status 0.  A member that is refused stays as it is and is
listed.  Takes minutes: the libraries are rewritten once per version of nopfix's own sources, and
kept in the cache folder.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from nopfix import Options, Refusal, rewrite
from nopfix.corpus import debian, sources
from nopfix.rewriter.object import archive

ROOT = Path(__file__).parents[2]
SOURCES = Path(__file__).parent / "sources"
TRIPLE = "powerpc64le-linux-gnu"
PACKAGES = (
    *("libc6-dev", "libgcc-12-dev", "libstdc++-12-dev", "libssl-dev"),
    *("libsqlite3-dev", "zlib1g-dev", "libgmp-dev"),
)
LIBRARIES = (
    *("c", "m", "gcc", "gcc_eh", "stdc++", "crypto", "ssl", "sqlite3", "z", "gmp", "gmpxx"),
    *("atomic", "resolv", "pthread", "dl", "rt", "util"),
)
START_FILES = ("crt1.o", "crti.o", "crtn.o", "crtbeginT.o", "crtend.o")
COMPILERS = {
    "gcc": (f"{TRIPLE}-gcc", "-O2"),
    "clang": ("clang-19", f"--target={TRIPLE}", "-O1"),
}
_NEEDS = {
    "crypto": ("-lssl", "-lcrypto"),
    "sqlite": ("-lsqlite3", "-lm"),
    "zlib": ("-lz",),
    "gmp": ("-lgmpxx", "-lgmp"),
}
"""What a program is linked with besides, by the first part of its name."""
_PATIENCE = 300
"""Seconds that a program may run: ten times what the longest takes."""


class Program(NamedTuple):
    """One program, by whom it is compiled."""

    source: Path
    compiler: str

    @property
    def name(self) -> str:
        """How it is called in what is printed."""
        return f"{self.source.name} ({self.compiler})"


class Outcome(NamedTuple):
    """What became of a program: what it is called, what is wrong ("": nothing), slots added."""

    name: str
    wrong: str
    slots: int


class Failed(Exception):
    """A program can't be made or run, or doesn't do what it did; the text says why."""


def main() -> int:
    """Run all of it; returns the exit status."""
    options = argparse.ArgumentParser(prog="python -m tests.programs", description=__doc__)
    options.add_argument("--only", nargs="+", default=[], help="sources, without their suffix")
    options.add_argument("--jobs", type=int, default=1)
    options.add_argument("--keep", type=Path, help="a folder for the programs (default: none)")
    parsed = options.parse_args()
    try:
        folders = [debian.unpacked(package, "bookworm") for package in PACKAGES]
    except debian.AptError as error:
        print(f"tests.programs: {error}", file=sys.stderr)
        return 2
    libraries = rewritten_libraries(folders)
    programs = [
        Program(source, compiler)
        for source in sorted(SOURCES.iterdir())
        if not parsed.only or source.stem in parsed.only
        for compiler in COMPILERS
    ]
    with tempfile.TemporaryDirectory(prefix="nopfix-programs.") as scratch:
        place = parsed.keep or Path(scratch)

        def attempt(program: Program) -> Outcome:
            return run(program, folders, libraries, place)

        with ThreadPoolExecutor(parsed.jobs) as pool:
            outcomes = []
            for outcome in pool.map(attempt, programs):
                outcomes.append(outcome)
                said = outcome.wrong or f"same output; {outcome.slots} slots of its own"
                print(f"{outcome.name}: {said}", flush=True)
    failed = sum(bool(outcome.wrong) for outcome in outcomes)
    print(f"{len(outcomes) - failed} passed, {failed} failed")
    return 1 if failed else 0


# -- libraries -------------------------------------------------------------------------------------


def rewritten_libraries(folders: list[Path]) -> Path:
    """The folder with the rewritten libraries and start files, made unless it is there.

    What was refused is printed, and kept beside them.
    """
    place = sources.cache_folder() / "programs" / _version(folders)
    report = place / "report.txt"
    if not report.exists():
        shutil.rmtree(place.parent, ignore_errors=True)
        (place / "old").mkdir(parents=True)
        (place / "new").mkdir()
        lines = []
        for name in (*(f"lib{name}.a" for name in LIBRARIES), *START_FILES):
            file = _find(folders, name)
            shutil.copy(file, place / "old" / name)
            lines += _rewrite(file, place / "new" / name)
        report.write_text("\n".join(lines) + "\n")
    print(report.read_text(), end="", flush=True)
    return place


def _version(folders: list[Path]) -> str:
    """What tells whether the libraries have to be rewritten again: nopfix and where they are."""
    digest = hashlib.sha256(repr(folders).encode())
    for package in ("rewriter", "dwarf"):
        for file in sorted((ROOT / package).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _find(folders: list[Path], name: str) -> Path:
    for folder in folders:
        found = sorted((folder / "usr/lib").rglob(name))
        if found:
            return found[0]
    raise Failed(f"{name}: in none of the packages")


def _rewrite(file: Path, output: Path) -> list[str]:
    """Rewrite a library or an object; returns what is to be said of it, a line each."""
    slots = members = 0
    refused = []

    def one(where: str, data: bytes) -> bytes:
        nonlocal slots, members
        members += 1
        try:
            result = rewrite(data)
        except Refusal as refusal:
            refused.append(f"  {where}: {str(refusal).partition(';')[0]}")
            return data
        slots += len(result.report.insertions)
        return bytes(result.data)

    data = file.read_bytes()
    if data.startswith(archive.MAGIC):
        output.write_bytes(archive.rewrite(file.name, data, one))
    else:
        output.write_bytes(one(file.name, data))
    return [f"{file.name}: {members} objects, {slots} slots, {len(refused)} refused", *refused]


# -- programs --------------------------------------------------------------------------------------


def run(program: Program, folders: list[Path], libraries: Path, place: Path) -> Outcome:
    """Make a program twice, run both, and compare."""
    folder = place / f"{program.source.stem}-{program.compiler}"
    folder.mkdir(parents=True, exist_ok=True)
    slots = 0
    try:
        old = compiled(program, folders, folder)
        new = old.with_name("new.o")
        result = rewrite(old.read_bytes(), Options())
        new.write_bytes(result.data)
        slots = len(result.report.insertions)
        before = executed(linked(program, old, libraries / "old"))
        after = executed(linked(program, new, libraries / "new"))
    except (Failed, Refusal) as error:
        return Outcome(program.name, str(error), slots)
    if before != after:
        wrong = _first_difference(before, after)
    elif len(before) < _LEAST:
        wrong = f"prints next to nothing ({len(before)} bytes)"
    else:
        wrong = ""
    return Outcome(program.name, wrong, slots)


_LEAST = 40
"""Bytes that a program prints if it has done something."""


def _first_difference(before: bytes, after: bytes) -> str:
    old, new = before.splitlines(), after.splitlines()
    for number, (a, b) in enumerate(zip(old, new, strict=False), 1):
        if a != b:
            return f"line {number} was {a!r} and is {b!r}"
    return f"{len(old)} lines before, {len(new)} after"


def compiled(program: Program, folders: list[Path], folder: Path) -> Path:
    """The program's object.  Raises `Failed`."""
    output = folder / "old.o"
    compiler, *flags = COMPILERS[program.compiler]
    if program.source.suffix == ".cc":
        compiler = compiler.replace("gcc", "g++").replace("clang-", "clang++-")
        flags.append("-std=c++20")
    for package in folders:
        if package.name in ("libssl-dev", "libsqlite3-dev", "zlib1g-dev", "libgmp-dev"):
            flags += ["-isystem", str(package / "usr/include" / TRIPLE)]
            flags += ["-isystem", str(package / "usr/include")]
    _do([compiler, *flags, "-c", str(program.source), "-o", str(output)])
    return output


def linked(program: Program, obj: Path, libraries: Path) -> Path:
    """The program linked with the libraries of one folder alone.  Raises `Failed`."""
    output = obj.with_suffix("")
    more = _NEEDS.get(program.source.stem.partition("_")[0], ())
    start = [str(libraries / name) for name in START_FILES]
    command = [
        *(f"{TRIPLE}-gcc", "-static", "-nostdlib", f"-L{libraries}", "-o", str(output)),
        *(*start[:2], start[3], str(obj), *more, "-lstdc++", "-lm"),
        *("-Wl,--start-group", "-lgcc", "-lgcc_eh", "-lc", "-Wl,--end-group"),
        *(start[4], start[2]),
    ]
    trace = _do([*command, "-Wl,--trace"])
    for line in trace.splitlines():
        used = line.strip("()").partition(")")[0]
        if used.endswith((".a", ".o")) and not used.startswith((str(libraries), str(obj))):
            raise Failed(f"linked with {used}, which isn't one of ours")
    return output


def executed(program: Path) -> bytes:
    """What a program prints.  Raises `Failed` unless it ends with status 0."""
    with tempfile.TemporaryDirectory(prefix="nopfix-program.") as folder:
        try:
            done = subprocess.run(
                ["qemu-ppc64le", str(program)],
                cwd=folder,
                env={"PATH": os.environ["PATH"], "TZ": "UTC"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"{program.name} program runs for more than {_PATIENCE} s") from None
    if done.returncode:
        last = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-1:]
        raise Failed(f"{program.name} program: status {done.returncode} {' '.join(last)}")
    return done.stdout


def _do(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise Failed(next((line for line in lines if "error:" in line), lines[0]))
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
