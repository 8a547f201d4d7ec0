"""Time nopfix against the interpreter, the assembler, itself, and a kernel's build, in pairs.

    python -m tests.bench [--runs N] [--kernel DIR] [--objects DIR] [--old REV] [--long]
                          [--build DIR] [--only GROUP ...] [--json FILE]
    python -m tests.bench --compare OLD.json NEW.json
    python -m tests.bench --markdown FILE.json

Every row is a ratio of processor times of whole processes that ran in turns (`tests.bench.paired`),
its median with the least and the largest, and what it should be at most.  `nopfix` is the command
that nopfix-toolchain writes.  The groups:

* *start*: a trivial object, and one that needs nothing, over ``python3 -IS -c pass``;
* *as*, *objcopy*, *gcc*: over the assembler, objcopy and the compiler for the same source;
* *memory*: peak memory, less the interpreter's and its modules', over the object's size;
* *growth*: ten times the object, by the factor in size (with --long to 100 MB);
* *scale*: twice as many sections, functions, tables, ... (`tests.bench.scale`);
* *verify* (needs --objects, a folder of a kernel's objects or modules): nopfix-verify over the
  rewrite, its milliseconds a megabyte, its memory by the object (`tests.bench.verify`);
* *old* (needs --old, a git revision): this nopfix over that one;
* *build* (needs --build, the folder of `make kernel-test`): a kernel's build with the wrapper, and
  with nopfix-serve, over one without; takes an hour.

The sources are in `tests.bench.sources`; what can't be had is left out, saying so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from nopfix import __version__
from nopfix.corpus import toolchain
from nopfix.rewriter.build import toolchain as own_toolchain
from tests import compare_versions
from tests.bench import compare, paired, scale, sources, verify
from tests.bench.paired import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.bench.sources import Made

AIMS = {
    "as": {
        "core -g": 0.40,
        "namei -g": 0.50,
        "zstd -g": 0.30,
        "core": 2.0,
        "zstd": 1.4,
    },
    "start": {"trivial": 1.9, "nothing to do": 1.5},
}
"""At most so many times, by group and source."""
MEMORY = 6.0
LARGE = 100_000_000

Objects = dict[str, "Made"]


def main() -> int:
    """Print the table; returns 1 where an aim is missed, or, comparing, a row got slower."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--runs", type=int, default=7, metavar="N")
    add("--kernel", type=Path, default=Path("build/kernel/plain"), metavar="DIR")
    add("--objects", type=Path, metavar="DIR", help="a kernel's objects or modules")
    add("--old", metavar="REV", help="a git revision to run against")
    add("--long", action="store_true", help="growth up to 100 MB")
    add("--build", type=Path, metavar="DIR", help="the work folder of make kernel-test")
    add("--only", nargs="+", default=(), metavar="GROUP", help="groups of rows to measure")
    add("--json", type=Path, metavar="FILE", help="keep the rows there as well")
    add("--compare", nargs=2, type=Path, metavar="FILE", help="rows that were kept: old and new")
    add("--markdown", type=Path, metavar="FILE", help="rows that were kept, as docs have them")
    options = parser.parse_args()
    if options.compare:
        return compare.show(*options.compare)
    if options.markdown:
        print("\n".join(compare.markdown(options.markdown)))
        return 0
    try:
        toolchain.compiler(sources.GCC)
    except toolchain.ToolError as missing:
        print(f"skipped: {missing}")
        return 0
    tools = versions()
    print("\n".join(f"{name}: {version}" for name, version in tools.items()))
    print(f"{options.runs} runs each, in turns\n\n{paired.HEADINGS}")
    rows = []
    with tempfile.TemporaryDirectory(prefix="nopfix-bench-") as scratch:
        for row in measured(Path(scratch), options):
            print(row.line(), flush=True)
            rows.append(row)
    if options.json:
        fields = {"versions": tools, "rows": [row._asdict() for row in rows]}
        options.json.write_text(json.dumps(fields, indent=1) + "\n")
    return 1 if [*paired.missed(rows)] else 0


def versions() -> dict[str, str]:
    """What was measured, and with what."""
    assembler = subprocess.run(
        [toolchain.binutil("as"), "--version"], capture_output=True, text=True, check=True
    )
    return {
        "nopfix": __version__,
        "Python": platform.python_version(),
        "as": assembler.stdout.splitlines()[0],
        "gcc": toolchain.version(sources.GCC),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
    }


def measured(folder: Path, options: argparse.Namespace) -> Iterator[Row]:
    """The rows of all groups that are asked for and can be had."""
    nopfix = command(folder)
    objects: Objects = {}
    if not options.only or {"start", "as", "objcopy", "gcc", "memory", "growth", "old"} & {
        *options.only
    }:
        for source in sources.find(folder, options.kernel):
            for debug in ((), ("-g",)):
                objects[" ".join((source.name, *debug))] = sources.make(source, debug, folder)
    groups: dict[str, Callable[[], Iterator[Row]]] = {
        "start": lambda: _start(objects, nopfix, options.runs),
        "as": lambda: _peers(objects, nopfix, options.runs),
        "memory": lambda: _memory(objects),
        "growth": lambda: _growth(objects, nopfix, options.runs, options.long),
        "scale": lambda: scale.measure(folder, options.runs, nopfix),
    }
    if options.objects:
        groups["verify"] = lambda: _verify(folder, options.objects, options.runs)
    if options.old:
        groups["old"] = lambda: _old(objects, nopfix, folder, options.old, options.runs)
    if options.build:
        groups["build"] = lambda: _build(options.build)
    for name, rows in groups.items():
        if not options.only or name in options.only:
            yield from rows()


def command(folder: Path) -> list[str]:
    """``nopfix -q`` as nopfix-toolchain writes it, for this Python."""
    tools = folder / "tools"
    own_toolchain.make(str(tools), "powerpc64le-linux-gnu-", "nopfix-", os.get_exec_path())
    return [str(tools / own_toolchain.COMMAND), "-q"]


def _start(objects: Objects, nopfix: Sequence[str], runs: int) -> Iterator[Row]:
    bare = [sys.executable, "-IS", "-c", "pass"]
    for name, aim in AIMS["start"].items():
        obj = objects[name].obj
        ours, theirs = paired.in_turns(
            ([*nopfix, str(obj), str(obj.with_name("out.o"))], bare), 5 * runs
        )
        yield paired.row("start", f"{name} / python3 -IS -c pass", ours, theirs, aim)


def _peers(objects: Objects, nopfix: Sequence[str], runs: int) -> Iterator[Row]:
    """Against what else is done with an object; the compiler, by far the slowest, runs twice."""
    for name, made in objects.items():
        obj, out = str(made.obj), str(made.obj.with_name("out.o"))
        ours = [*nopfix, obj, out]
        objcopy = [toolchain.binutil("objcopy"), obj, out]
        mine, assembler, copying = paired.in_turns((ours, made.assemble, objcopy), runs)
        size = f"{made.obj.stat().st_size / 1000:.0f} KB"
        yield paired.row("as", f"{name} ({size}) / as", mine, assembler, AIMS["as"].get(name))
        yield paired.row("objcopy", f"{name} / objcopy", mine, copying)
        mine, compiling = paired.in_turns((ours, made.compile), 1, made.folder)
        yield paired.row("gcc", f"{name} / gcc", mine, compiling)


def _memory(objects: Objects) -> Iterator[Row]:
    bare = _bare(objects)
    for name, own in objects.items():
        if own.obj.stat().st_size > 200_000:
            yield _memory_of(name, own.obj, bare)


def _bare(objects: Objects) -> int:
    """Peak memory of the interpreter and its modules, in bytes."""
    obj = objects["nothing to do"].obj
    return paired.peak_memory(obj, obj.with_name("out.o"))


def _memory_of(name: str, obj: Path, bare: int) -> Row:
    ratio = (paired.peak_memory(obj, obj.with_name("out.o")) - bare) / obj.stat().st_size
    return Row("memory", f"{name} / object", ratio, ratio, ratio, MEMORY)


def _growth(objects: Objects, nopfix: Sequence[str], runs: int, long: bool) -> Iterator[Row]:
    """The factor in time over the factor in size: at most 1."""
    bare = _bare(objects)
    for name in ("core -g", "zstd", "zstd -g", "cp-demangle -g"):
        if name not in objects:
            continue
        obj = objects[name].obj
        sizes = [10, -(-LARGE // obj.stat().st_size)] if long else [10]
        for count in sizes:
            large = sources.many(obj, count, obj.parent)
            commands = [[*nopfix, str(path), str(obj.with_name("out.o"))] for path in (large, obj)]
            ours, one = paired.in_turns(commands, 1 if count > 10 else max(1, runs // 2))
            factor = large.stat().st_size / obj.stat().st_size
            megabytes = large.stat().st_size / 1e6
            label = f"{name} x{factor:.1f} ({megabytes:.0f} MB): time / size"
            yield paired.row("growth", label, ours, [factor * own for own in one], 1.0)
            yield _memory_of(f"{name} x{factor:.1f}", large, bare)
            large.unlink()


def _verify(folder: Path, objects: Path, runs: int) -> Iterator[Row]:
    strip = [toolchain.binutil("objcopy"), "-g"]
    found = [*verify.measure([*verify.objects(objects, folder, strip)], runs)]
    for line in verify.table(found):
        print(f"  {line}", flush=True)
    yield from verify.rows(found)


def _old(
    objects: Objects, nopfix: Sequence[str], folder: Path, revision: str, runs: int
) -> Iterator[Row]:
    """This nopfix over that of ``revision``, both started alike."""
    tree = compare_versions.unpack(revision, folder / "old")
    package = "nopfix.rewriter" if (tree / "nopfix").is_dir() else "rewriter"
    start = folder / "old-nopfix"
    start.write_text(
        f"#!{sys.executable} -IS\nimport sys\nsys.path[:0] = [{str(tree)!r}]\n"
        f"from {package}.__main__ import main\nsys.exit(main())\n"
    )
    start.chmod(0o755)
    for name, made in objects.items():
        files = (str(made.obj), str(made.obj.with_name("out.o")))
        new, old = paired.in_turns(([*nopfix, *files], [str(start), "-q", *files]), runs)
        yield paired.row("old", f"{name} / {revision}", new, old, 1.0)


def _build(work: Path) -> Iterator[Row]:
    """A kernel's build, as `make kernel-test` times it."""
    from tests.kernel import kernel_test

    aims = {"wrapper CPU": 1.035, "nopfix-serve CPU": 1.020, "nopfix-serve wall": 1.02}
    for side, kind, wrapped, untouched in kernel_test.overhead(work, 5, os.cpu_count() or 1):
        name = f"{side} {kind}"
        yield paired.row("build", f"kernel build, {name}", wrapped, untouched, aims.get(name))


if __name__ == "__main__":
    sys.exit(main())
