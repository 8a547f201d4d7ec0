"""What is compiled to be timed: from a trivial source to one of a megabyte of code.

GCC's own libraries (Debian's gcc-12-source), zstd's one-file form (the zstandard package's sources,
by pip) and two sources of the kernel, with the commands that a kernel's build has kept.  What can't
be had is left out, saying so.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nopfix.corpus import sources, toolchain

if TYPE_CHECKING:
    from collections.abc import Iterator

ZSTD = "zstandard==0.23.0"
DEFINES = ("-DSTDC_HEADERS", "-DHAVE_STDLIB_H", "-DHAVE_STRING_H", "-DHAVE_LIMITS_H")
TRIVIAL = """\
static __attribute__((noinline)) int helper(int value) { return value * 3; }
int function(int value) { return helper(value) + helper(value + 1); }
"""
NOTHING = "int function(int value) { return value * 3; }\n"
#: Paths in GCC's sources, smallest object first.
LIBRARIES = ("zlib/trees.c", "libiberty/d-demangle.c", "libiberty/cp-demangle.c")
KERNEL = ("kernel/sched/core.o", "fs/namei.o")
GCC = toolchain.Tools("gcc-12")


class Source(NamedTuple):
    """What to compile: a name for the table, the path, the flags, the folder to compile in."""

    name: str
    path: Path
    flags: tuple[str, ...]
    folder: Path | None = None


class Made(NamedTuple):
    """An object, and what compiles it (in ``folder``) and assembles it, to files of their own."""

    obj: Path
    compile: list[str]
    assemble: list[str]
    folder: Path | None


def find(folder: Path, kernel: Path) -> Iterator[Source]:
    """Every source that can be had; ``folder`` takes what is fetched."""
    for name, text in (("trivial", TRIVIAL), ("nothing to do", NOTHING)):
        path = folder / f"{name.split()[0]}.c"
        path.write_text(text)
        yield Source(name, path, ("-O2",))
    try:
        gcc = sources.gcc_sources(folder, (*LIBRARIES, "zlib", "libiberty", "include"))
    except sources.NoSources as missing:
        print(f"left out: {missing}")
    else:
        include = f"-I{gcc / 'include'}"
        for name in LIBRARIES:
            yield Source(Path(name).stem, gcc / name, ("-O2", *DEFINES, include))
    zstd = _zstd(folder)
    if zstd:
        yield Source("zstd", zstd, ("-O2",))
    yield from _kernel(kernel)


def _zstd(folder: Path) -> Path | None:
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
    done = subprocess.run(
        [*command, "-d", folder, ZSTD], capture_output=True, text=True, check=False
    )
    archives = list(folder.glob("zstandard-*.tar.gz"))
    if done.returncode or not archives:
        print(f"left out: pip can't download the sources of {ZSTD}")
        return None
    shutil.unpack_archive(archives[0], folder, filter="data")
    return next(folder.glob("zstandard-*/zstd/zstd.c"))


def _kernel(tree: Path) -> Iterator[Source]:
    """Sources of a kernel that was built in ``tree``, with the commands that the build kept."""
    for name in KERNEL:
        path = Path(name)
        kept = tree / path.with_name(f".{path.name}.cmd")
        if not kept.exists():
            print(f"left out: {name}: no kernel was built in {tree} (make kernel-test)")
            continue
        line = kept.read_text().partition(" := ")[2].partition(" ; ")[0].splitlines()[0]
        words = shlex.split(line)
        tail = {"-c", "-o", name, words[-1], words[0]}
        flags = [w for w in words if w not in tail and not w.startswith(("-Wp,", "-g"))]
        yield Source(path.stem, Path(words[-1]), tuple(flags), tree.resolve())


def make(source: Source, debug: tuple[str, ...], folder: Path) -> Made:
    """Compile and assemble ``source`` into ``folder``."""
    stem = "".join((source.name.split()[0], *debug))
    obj, text = folder / f"{stem}.o", folder / f"{stem}.s"
    flags = (*source.flags, *debug)
    compiler = [*toolchain.compiler(GCC), "-w", *flags, str(source.path)]
    subprocess.run([*compiler, "-S", "-o", str(text)], check=True, cwd=source.folder)
    plain = tuple(flag for flag in flags if flag[:2] not in ("-I", "-D", "-i"))
    assemble = [*toolchain.assembler(GCC, plain), "-o", str(obj), str(text)]
    subprocess.run(assemble, check=True)
    assemble[assemble.index(str(obj))] = str(folder / "as.o")
    return Made(obj, [*compiler, "-c", "-o", str(folder / "gcc.o")], assemble, source.folder)


def many(obj: Path, count: int, folder: Path) -> Path:
    """``count`` copies of an object in one, under names of their own."""
    copies = []
    for number in range(count):
        copies.append(str(folder / f"copy{number}.o"))
        rename = f"--prefix-symbols=copy{number}_"
        objcopy = [toolchain.binutil("objcopy"), rename, str(obj), copies[-1]]
        subprocess.run(objcopy, check=True)
    result = folder / f"{obj.stem}-{count}.o"
    subprocess.run([toolchain.binutil("ld"), "-r", "-o", str(result), *copies], check=True)
    for copy in copies:
        Path(copy).unlink()
    return result
