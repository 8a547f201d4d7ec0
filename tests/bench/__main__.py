"""Time nopfix against the assembler, the compiler and objcopy, as whole processes.

    python -m tests.bench [--runs N] [--kernel DIR] [--only NAME ...]

For each source one object is made; then nopfix, `as` and objcopy run in turns, N times, the
compiler once, and the median of each one's processor time is shown with the ratios to `as`.
Processor time (user and system, as wait4 accounts it) and not wall time: other jobs on the machine
lengthen the latter of all four, but not by the same factor.

* *without -g*, from a trivial object to one of 1 MB: the target is no more than 1.0 times `as` for
  objects over 200 KB, and under 60 ms for a trivial one;
* *with -g*: no more than 2.0 times `as`, and peak memory under 8 times the object's size.  Memory
  is that of the whole process; the column "own" is without the interpreter and its modules;
* *growth*: an object against ten of it in one (``ld -r``): at most eleven times as long;
* *scale*: twice as many sections, functions, tables, static keys or cases of a switch
  (`tests.bench.scale`): at most 2.2 times as long;
* *verify* (`tests.bench.verify`; needs ``--objects DIR``): nopfix-verify over 50 kernel objects
  of all sizes: at most 5 times the rewrite, at least 4 MB/s, memory at most 12 times the object.

Sources: GCC's own libraries (Debian's gcc-12-source) and zstd's one-file form (the zstandard
package's sources, by pip).  What can't be had is left out, saying so.  With a kernel built by
`make kernel-test`, kernel/sched's objects are timed as well, from that kernel's own commands.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nopfix.corpus import sources, toolchain
from tests.bench import scale, verify

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ZSTD = "zstandard==0.23.0"
DEFINES = ("-DSTDC_HEADERS", "-DHAVE_STDLIB_H", "-DHAVE_STRING_H", "-DHAVE_LIMITS_H")
TRIVIAL = """\
static __attribute__((noinline)) int helper(int value) { return value * 3; }
int function(int value) { return helper(value) + helper(value + 1); }
"""
#: Paths in GCC's sources, smallest object first.
LIBRARIES = ("zlib/trees.c", "libiberty/d-demangle.c", "libiberty/cp-demangle.c")
KERNEL_SOURCE = "kernel/sched/core.o"
SAMPLE = Path(__file__).parents[2] / "samples" / "recursion.o"
NOPFIX = (sys.executable, "-m", "nopfix.rewriter", "-q")


class Source(NamedTuple):
    """What to compile: a name for the table, the path, the flags, the folder to compile in."""

    name: str
    path: Path
    flags: tuple[str, ...]
    folder: Path | None = None


class Usage(NamedTuple):
    """What one process took: seconds of processor time, of wall time."""

    cpu: float
    wall: float


def main() -> int:
    """Print the tables; returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=7, metavar="N")
    parser.add_argument("--kernel", type=Path, default=Path("build/kernel"), metavar="DIR")
    parser.add_argument("--objects", type=Path, metavar="DIR", help="a kernel's objects or modules")
    parser.add_argument("--only", nargs="+", default=(), metavar="NAME", help="rows to show")
    options = parser.parse_args()
    try:
        toolchain.compiler(toolchain.Tools("gcc-12"))
    except toolchain.ToolError as missing:
        print(f"skipped: {missing}")
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if options.objects:
            _show_verify(folder, options.objects, options.runs)
        if [*options.only] == ["verify"]:
            return 0
        found = [*_libraries(folder), *_kernel(options.kernel)]
        chosen = [source for source in found if not options.only or source.name in options.only]
        bare = peak_memory(SAMPLE, folder / "out.o")
        for title, debug in (("without -g", ()), ("with -g", ("-g",))):
            print(f"\n{title}: medians of {options.runs} runs, CPU ms; peak memory\n")
            print(_HEADINGS)
            for source in chosen:
                print(_row(source, debug, folder, options.runs, bare), flush=True)
        print("\ngrowth: ten in one against one, CPU ms\n")
        for debug in ((), ("-g",)):
            _show_growth(chosen, debug, folder, options.runs)
        if not options.only or "scale" in options.only:
            _show_scale(folder, options.runs)
    return 0


# -- sources --------------------------------------------------------------------------------------


def _libraries(folder: Path) -> Iterator[Source]:
    trivial = folder / "trivial.c"
    trivial.write_text(TRIVIAL)
    yield Source("trivial", trivial, ("-O2",))
    try:
        gcc = sources.gcc_sources(folder, (*LIBRARIES, "zlib", "libiberty", "include"))
    except sources.NoSources as missing:
        print(f"left out: {missing}")
    else:
        include = f"-I{gcc / 'include'}"
        for path in LIBRARIES:
            yield Source(Path(path).stem, gcc / path, ("-O2", *DEFINES, include))
    zstd = _zstd(folder)
    if zstd:
        yield Source("zstd", zstd, ("-O2",))
        yield Source("zstd-O3", zstd, ("-O3",))


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


def _kernel(build: Path) -> Iterator[Source]:
    """kernel/sched/core.c with the command that a kernel build of `make kernel-test` kept."""
    kept = build / "plain" / "kernel/sched/.core.o.cmd"
    if not kept.exists():
        print("left out: no kernel in build/kernel (make kernel-test)")
        return
    words = shlex.split(kept.read_text().partition(" := ")[2].partition(" ; ")[0].splitlines()[0])
    tail = {"-c", "-o", KERNEL_SOURCE, words[-1], words[0]}
    flags = [word for word in words if word not in tail and not word.startswith(("-Wp,", "-g"))]
    yield Source("core", Path(words[-1]), tuple(flags), (build / "plain").resolve())


# -- measuring ------------------------------------------------------------------------------------


_HEADINGS = (
    f"{'source':12} {'object KB':>9} {'nopfix':>8} {'as':>8} {'gcc':>8} {'objcopy':>8}   "
    f"{'/as':>5} {'/gcc':>5} {'wall ms':>8} {'peak MB':>8} {'/object':>7} {'own':>5}"
)


def _row(source: Source, debug: tuple[str, ...], folder: Path, runs: int, bare: int) -> str:
    """One line of the table: the four commands in turns, the medians and the ratios.

    ``bare`` are the bytes that the interpreter and its modules take.
    """
    obj, text, out = folder / "plain.o", folder / "plain.s", folder / "out.o"
    compile_object, assemble = _make(source, debug, obj, text)
    commands = {
        "nopfix": [*NOPFIX, str(obj), str(out)],
        "as": assemble,
        "gcc": compile_object,
        "objcopy": [toolchain.binutil("objcopy"), str(obj), str(out)],
    }
    used: dict[str, list[Usage]] = {name: [] for name in commands}
    for number in range(runs + 1):
        for name, command in commands.items():
            # The compiler takes by far the longest and is here for scale only.
            if name == "gcc" and number != 1:
                continue
            usage = measure(command, source.folder)
            if number:
                used[name].append(usage)
    cpu = {name: statistics.median(usage.cpu for usage in found) for name, found in used.items()}
    wall = statistics.median(usage.wall for usage in used["nopfix"])
    memory = peak_memory(obj, out)
    size = obj.stat().st_size
    return (
        f"{source.name:12} {size / 1000:9.1f} "
        + " ".join(f"{1000 * cpu[name]:8.1f}" for name in commands)
        + f"   {cpu['nopfix'] / cpu['as']:5.2f} {cpu['nopfix'] / cpu['gcc']:5.2f}"
        + f" {1000 * wall:8.1f} {memory / 1e6:8.1f} {memory / size:7.1f}"
        + f" {max(memory - bare, 0) / size:5.1f}"
    )


def _make(
    source: Source, debug: tuple[str, ...], obj: Path, text: Path
) -> tuple[list[str], list[str]]:
    """Make the object and its assembly; the commands that compile and that assemble."""
    flags = (*source.flags, *debug)
    compiler = [*toolchain.compiler(toolchain.Tools("gcc-12")), "-w", *flags, str(source.path)]
    subprocess.run([*compiler, "-S", "-o", str(text)], check=True, cwd=source.folder)
    plain = tuple(flag for flag in flags if flag[:2] not in ("-I", "-D", "-i"))
    assemble = [*toolchain.assembler(toolchain.Tools("gcc-12"), plain), "-o", str(obj), str(text)]
    subprocess.run(assemble, check=True)
    assemble[assemble.index(str(obj))] = str(obj.with_name("as.o"))
    return [*compiler, "-c", "-o", str(obj.with_name("gcc.o"))], assemble


def measure(command: Sequence[str], folder: Path | None = None) -> Usage:
    """Run a command and say what the operating system accounts to it."""
    begun = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{shlex.join(command)} ended with {process.returncode}")
    return Usage(usage.ru_utime + usage.ru_stime, wall)


def peak_memory(obj: Path, out: Path) -> int:
    """The largest resident set of ``nopfix -q OBJ OUT``, in bytes, as the process itself reads it.

    What wait4 says begins with the size of the process that started it.
    """
    command = [sys.executable, "-c", _TELL_PEAK, "-q", str(obj), str(out)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=_environment(), cwd=out.parent
    )
    return int(done.stdout) << 10


_TELL_PEAK = """
from nopfix.rewriter.__main__ import main
main()
for line in open("/proc/self/status"):
    if line.startswith("VmHWM:"):
        print(line.split()[1])
"""


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


def _show_growth(chosen: Sequence[Source], debug: tuple[str, ...], folder: Path, runs: int) -> None:
    """Time one object against ten copies of it, linked into one under names of their own."""
    source = next((s for s in chosen if s.name == "cp-demangle"), None)
    if source is None:
        return
    obj, many = folder / "one.o", folder / "many.o"
    _make(source, debug, obj, folder / "one.s")
    copies = []
    for number in range(10):
        copies.append(str(folder / f"copy{number}.o"))
        rename = f"--prefix-symbols=copy{number}_"
        objcopy = [toolchain.binutil("objcopy"), rename, str(obj), copies[-1]]
        subprocess.run(objcopy, check=True)
    subprocess.run([toolchain.binutil("ld"), "-r", "-o", str(many), *copies], check=True)
    times: dict[Path, list[float]] = {obj: [], many: []}
    for number in range(runs + 1):
        for path, found in times.items():
            usage = measure([*NOPFIX, str(path), str(folder / "out.o")])
            if number:
                found.append(usage.cpu)
    one, ten = (statistics.median(found) for found in times.values())
    sizes = many.stat().st_size / obj.stat().st_size
    print(
        f"cp-demangle {' '.join(debug) or '(no -g)'}: {1000 * one:.1f} and {1000 * ten:.1f}: "
        f"{ten / one:.1f} times as long for {sizes:.1f} times the size"
    )


def _show_scale(folder: Path, runs: int) -> None:
    """Time objects with so many and with twice as many of each thing that may be many."""
    print("\nscale: twice as many, CPU ms\n")
    measured = scale.measure(folder, runs, NOPFIX, lambda command: measure(command).cpu)
    for shape, small, large, ratio in measured:
        print(
            f"{shape.count:5} {shape.name}: {1000 * small:.0f}, twice: {1000 * large:.0f}, "
            f"{ratio:.2f} times as long",
            flush=True,
        )


def _show_verify(folder: Path, objects: Path, runs: int) -> None:
    """Time nopfix-verify over objects below a folder."""
    print("\nverify: in one process, CPU ms; memory beyond the objects, per byte of the object\n")
    strip = [toolchain.binutil("objcopy"), "-g"]
    found = [*verify.objects(objects, folder, strip)]
    for line in verify.table([*verify.measure(found, runs)]):
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
