"""The real kpatch-build, end to end: a root folder, kernels, patches, and what they do.

    python -m tests.kpatch [--work DIR] [--jobs N] [--kernel VERSION] [--patch NAME] [STEP ...]

Steps, in order; each is left out when it was done before, unless asked for with --again:

root      a Debian root folder with kpatch-build, the compilers and the kernels' sources
kernels   each kernel with its own GCC, never seen by nopfix
patches   every patch by the unmodified kpatch-build: the compiler alone, with kpatch's plugin
          (where that can be built), and with nopfix; the first two compile the patch's objects
          only, nopfix whatever kpatch-build builds by default, or with --objects them alone
plain     one patch by `kpatch-build FILE`, for a kernel that seems to be the running one
upstream  one patch by the copy of kpatch-build that docs/kpatch-upstream.md describes
siblings  the patch that is refused for its sibling call, with NOPFIX_SIBLING_CALLS=compiler
inlining  every C object with and without -fno-optimize-sibling-calls (tests/kpatch/inlining.py);
          inlining-defconfig: those of ppc64le_defconfig
outside   a module out of the kernel's tree, by plain GCC, and a patch for it
klp       a patch by the newest kernel's own klp-build (tests/kpatch/klp.py)
boot      each kernel under qemu-system-ppc64: every patch loaded, its effect seen by a program,
          taken back, gone, unloaded; without nopfix those that need slots are refused
table     the table of docs/kernel.md, from what the other steps left
linked    vmlinux.o of plain objects rewritten, beside the link of rewritten objects
left      what create-diff-object makes of code that nopfix can't follow (tests/kpatch/left.py)
native    nopfix itself on ppc64le, under qemu-user (tests/kpatch/native.py)
debian    Debian's own 6.12 configuration and three patches to modules: built, booted, loaded

The last line is "N passed, N failed".  Takes some hours and 25 GB.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.kernel.kernel_test import Failure, say
from tests.kpatch import (
    building,
    guest,
    inlining,
    kernels,
    klp,
    left,
    linked,
    native,
    outside,
    patches,
    table,
)
from tests.kpatch.root import PROJECT, Root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.kpatch.building import Built
    from tests.kpatch.kernels import Kernel
    from tests.kpatch.patches import Patch

INLINING = ("inlining", "inlining-defconfig")
STEPS = (
    *("root", "kernels", "patches", building.PLAIN, building.UPSTREAM, building.SIBLINGS),
    *(*INLINING, "outside", klp.WAY, "boot", "table", "linked", "left", "native", "debian"),
)
# Objects as the compiler makes them; not what kpatch-build makes anew in the kernels' own folders.
PLAIN = ("fs/namei.o", "kernel/signal.o", "mm/mmap.o")
LOADS = patches.LOADS
# What is judged; the others are only shown.
OURS = ("nopfix", building.UPSTREAM, building.PLAIN, building.SIBLINGS, klp.WAY)
# What klp-build makes: a function of a module, which calls others of that module.
BY_KLP = "module"


class Tally:
    """How many expectations held."""

    def __init__(self) -> None:
        self.passed = self.failed = 0

    def count(self, held: bool, line: str) -> None:
        """One expectation."""
        if held:
            self.passed += 1
        else:
            self.failed += 1
        say(f"{'ok' if held else 'FAILED'}: {line}")


def make_patches(
    root: Root,
    kernel: Kernel,
    chosen: Sequence[Patch],
    ways: Sequence[str],
    options: argparse.Namespace,
    tally: Tally,
) -> None:
    """kpatch-build for each patch and way; counts what nopfix's came to."""
    log = kernels.folders(root, kernel).log
    for way in ways:
        if way == "plugin" and not building.plugin(root, kernel, log):
            say(f"{kernel.name}: kpatch's plugin can't be built for GCC {kernel.compiler}")
            continue
        for patch in chosen:
            everything = way == building.PLAIN or (way == "nopfix" and not options.objects)
            folder = kernels.folders(root, kernel).patches / patch.name / way
            if options.again:
                shutil.rmtree(folder, ignore_errors=True)
            built = building.build(
                root, kernel, patch, way, everything=everything, jobs=options.jobs
            )
            what = f"{kernel.name}: {patch.name}, {way}"
            if way in OURS:
                tally.count(as_expected(patch, built), f"{what}: {built.said}")
            else:
                say(f"{what}: {built.said}")


def as_expected(patch: Patch, built: Built) -> bool:
    """Whether kpatch-build ended as it has to with nopfix."""
    if patch.result == LOADS:
        found = [any(re.search(p, name) for name in built.functions) for p in patch.changes]
        return built.module is not None and all(found)
    return built.module is None and patch.result in built.said


def boot(root: Root, kernel: Kernel, chosen: Sequence[Patch], tally: Tally) -> None:
    """Boot the kernel with what was built; counts each patch."""
    cases = []
    for way in (*building.WAYS, *OURS[1:]):
        made: dict[str, Path] = {}
        for patch in chosen:
            folder = kernels.folders(root, kernel).patches / patch.name / way
            if not (folder / "status").exists():
                continue
            built = building.read(patch, folder)
            if built.module is None:
                continue
            made[patch.name] = built.module
            refused = way == "none" and patch.name in patches.REFUSED
            check = guest.refused if refused else guest.works
            cases.append(check(patch.name, way, built.module))
        pair = (patches.STATIC_CALL.name, "replacement")
        if way == "nopfix" and all(name in made for name in pair):
            cases[-1] = guest.replaces(*pair, way, (made[pair[0]], made[pair[1]]))
    folder = kernels.folders(root, kernel).patches / outside.PATCH.name / "nopfix"
    if (folder / "status").exists():
        built = building.read(outside.PATCH, folder)
        if built.module is not None:
            cases.append(outside.case(root, kernel, "nopfix", built.module))
    outcomes = guest.boot(root, kernel, cases, "all")
    table.keep(root, kernel, outcomes)
    for case in cases:
        outcome = outcomes[case.name]
        line = f"{kernel.name}: {case.name}: {outcome.wrong or 'as it has to be'}"
        way, _, name = case.name.partition("/")
        if way in OURS or (way == "none" and name in patches.REFUSED):
            tally.count(outcome.passed, line)
        else:
            say(f"seen: {line}")


def take(
    step: str,
    root: Root,
    kernel: Kernel,
    chosen: Sequence[Patch],
    options: argparse.Namespace,
    tally: Tally,
) -> None:
    """One step for one kernel.  Raises Failure."""
    if step == "debian":
        # All of its modules twice would be days: the patched ones only.
        options = argparse.Namespace(**{**vars(options), "objects": True, "way": ["nopfix"]})
        for part in ("kernels", "patches", "boot", "table"):
            take(part, root, kernel, patches.DEBIAN, options, tally)
    elif step == "kernels":
        kernels.build(root, kernel, options.jobs)
    elif step == "patches":
        make_patches(root, kernel, chosen, options.way, options, tally)
    elif step in (building.UPSTREAM, building.PLAIN):
        make_patches(root, kernel, [patches.STATIC_CALL], [step], options, tally)
    elif step == building.SIBLINGS:
        loads = patches.SIBLING_CALL._replace(result=LOADS)
        make_patches(root, kernel, [loads], [step], options, tally)
    elif step in INLINING:
        said = inlining.compare(root, kernel, options.jobs, whole=step == INLINING[1])
        tally.count(True, f"{kernel.name}: {step}: {said}")
    elif step == "linked":
        tally.count(
            True, f"{kernel.name}: linked: {linked.compare_links(root, kernel, options.jobs)}"
        )
    elif step == "outside":
        built = outside.build(root, kernel, "nopfix", options.jobs)
        tally.count(built.module is not None, f"{kernel.name}: outside, nopfix: {built.said}")
    elif step == klp.WAY:
        if kernel == kernels.KERNELS[-1]:
            patch = next(p for p in patches.PATCHES if p.name == BY_KLP)
            module = klp.build(root, kernel, patch, options.jobs)
            tally.count(module is not None, f"{kernel.name}: {patch.name}, klp-build")
    elif step == "boot":
        boot(root, kernel, chosen, tally)
    else:
        say(table.table(root, kernel, [*chosen, outside.PATCH]))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    versions = [kernel.version for kernel in kernels.KERNELS]
    names = [patch.name for patch in patches.PATCHES]
    add = parser.add_argument
    add("steps", nargs="*", choices=[*STEPS, []], metavar="STEP")
    add("--work", type=Path, default=PROJECT / "build" / "kpatch", metavar="DIR")
    add("-j", "--jobs", type=int, default=os.cpu_count() or 1, metavar="N")
    add("--kernel", action="append", choices=versions, metavar="VERSION", help="only this one")
    add("--patch", action="append", choices=names, metavar="NAME", help="only this one")
    add("--way", action="append", choices=building.WAYS, metavar="WAY", help="only this one")
    add("--objects", action="store_true", help="nopfix compiles the patch's objects only")
    add("--part", action="append", choices=native.PARTS, metavar="PART", help="of native: this one")
    add("--again", action="store_true", help="also what was done before")
    options = parser.parse_args(arguments)
    options.work = options.work.resolve()
    options.way = options.way or list(building.WAYS)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps; returns 0 when all came out as it has to."""
    options = parse(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    root, tally = Root(options.work), Tally()
    chosen = [p for p in patches.PATCHES if p.name in (options.patch or [p.name])]
    for step in options.steps or STEPS:
        if step == "root":
            root.make()
            continue
        if step == "left":
            left.check(root, tally.count)
            continue
        if step == "native":
            sources = kernels.folders(root, kernels.KERNELS[0]).source
            objects = [sources / name for name in PLAIN if (sources / name).exists()]
            samples = sorted((PROJECT / "samples").glob("*.o"))
            native.check(root, [*samples, *objects], options.part or native.PARTS, tally.count)
            continue
        for kernel in [kernels.DEBIAN] if step == "debian" else kernels.KERNELS:
            if step != "debian" and kernel.version not in (options.kernel or [kernel.version]):
                continue
            try:
                take(step, root, kernel, chosen, options, tally)
            except Failure as failure:
                tally.count(False, f"{kernel.name}: {step}: {failure}")
    print(f"{tally.passed} passed, {tally.failed} failed", flush=True)
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
