"""A real kernel, built through the compiler wrapper, booted and patched while it runs.

    python tests/kernel/kernel_test.py [--work DIR] [--jobs N] [--verify N] [STEP ...]

Steps, in order, each of them only done again when asked for by name:

plain       Debian's linux-source, configured as below, built with the compiler as it is
nopfix      the same through nopfix-toolchain's folder, in a folder of the same name
objects     every C object: a call without slot fails; those that needed slots are compared with the
            plain ones by nopfix-verify, all others have to equal them byte for byte
overhead    build some folders again, untouched, with the wrapper, and with the wrapper under
            nopfix-serve, without and with NOPFIX_VERIFY=1, in turns; wall and CPU time of each; all
            but the first make the same objects
boot        vmlinux of both builds: init loads the livepatch sample, which patches /proc/cmdline
mission     a livepatch that calls a function which was static: the module loader has to refuse it
            as the compiler made it, and to load it with slots; r2 has to be intact after the call

Needs linux-source-6.1, bc, bison, flex, the cross compiler and qemu-system-ppc64; what is missing
is installed with apt when run as root.  Takes about half an hour on two cores.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import random
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path, PurePath
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

PREFIX = "powerpc64le-linux-gnu-"
PACKAGES = {
    "bc": "bc",
    "bison": "bison",
    "flex": "flex",
    "make": "make",
    PREFIX + "gcc": "gcc-powerpc64le-linux-gnu",
    PREFIX + "objcopy": "binutils-powerpc64le-linux-gnu",
    "qemu-system-ppc64": "qemu-system-ppc",
}
SOURCE = Path("/usr/src/linux-source-6.1.tar.xz")

CONFIG = """
64BIT PPC64 PPC_BOOK3S_64 CPU_LITTLE_ENDIAN PPC_PSERIES SMP PPC_FPU ALTIVEC VSX
PPC_OF_BOOT_TRAMPOLINE MODULES MODULE_UNLOAD PRINTK BUG GENERIC_BUG DEBUG_BUGVERBOSE JUMP_LABEL
KALLSYMS KALLSYMS_ALL FTRACE FUNCTION_TRACER DYNAMIC_FTRACE LIVEPATCH BLK_DEV_INITRD RD_GZIP
BINFMT_ELF BINFMT_SCRIPT TTY HVC_CONSOLE PROC_FS PROC_SYSCTL SYSFS DEVTMPFS DEBUG_KERNEL
DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT SAMPLES
"""
MACHINE = "pseries,cap-htm=off,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken"
QEMU = ("qemu-system-ppc64", "-M", MACHINE, "-cpu", "power9", "-nographic")
QEMU += ("-vga", "none", "-no-reboot")
COMMAND_LINE = "console=hvc0 panic=-1"
# So that two builds differ in nothing but the wrapper.
ENVIRONMENT = {"KBUILD_BUILD_TIMESTAMP": "2024-01-01", "KBUILD_BUILD_USER": "nopfix"}

# What is built again and again to see what the wrapper costs.
SUBSET = ("kernel/", "mm/")

PATCHED = "this has been live patched"


class Failure(Exception):
    """A step didn't come out as it has to."""


def say(text: str) -> None:
    """One line of the result, at once."""
    print(text, flush=True)


def run(
    *command: object, log: Path | None = None, cwd: Path | None = None, **options: object
) -> None:
    """Run a command; its output goes to the end of ``log``.  Raises Failure."""
    words = [str(word) for word in command]
    with (log or Path(os.devnull)).open("ab") as stream:
        status = subprocess.run(
            words, stdout=stream, stderr=subprocess.STDOUT, cwd=cwd, **options
        ).returncode  # type: ignore[call-overload]
    if status:
        where = f", see {log}" if log else ""
        raise Failure(f"{shlex.join(words[:6])} ... ended with status {status}{where}")


def prepare(work: Path) -> Path:
    """Install what is missing, unpack the sources; returns their folder."""
    missing = {package for tool, package in PACKAGES.items() if not shutil.which(tool)}
    if not SOURCE.exists():
        missing.add("linux-source-6.1")
    if missing:
        if os.geteuid():
            raise SystemExit(f"skipped: not installed: {', '.join(sorted(missing))}")
        run("apt-get", "install", "-y", "--no-install-recommends", *sorted(missing))
    work.mkdir(parents=True, exist_ok=True)
    sources = work / "linux-source-6.1"
    if not (sources / "Makefile").exists():
        say("unpacking the sources")
        run("tar", "xf", SOURCE, "-C", work)
    return sources


def make(
    sources: Path, build: Path, prefix: str, *targets: str, log: Path, before: Sequence[str] = ()
) -> None:
    """Run the kernel's make, behind the command ``before``."""
    flags = ["ARCH=powerpc", f"CROSS_COMPILE={prefix}", f"O={build}"]
    environment = os.environ | ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    run(*before, "make", *flags, *targets, log=log, cwd=sources, env=environment)


def build(work: Path, name: str, prefix: str, jobs: int) -> None:
    """Configure and build the kernel, its modules and our own; keep the time beside it."""
    sources = prepare(work)
    folder, final, log = work / "build", work / name, work / f"{name}.log"
    for old in (folder, final):
        shutil.rmtree(old, ignore_errors=True)
    log.unlink(missing_ok=True)
    fragment = work / "config"
    options = [f"CONFIG_{option}=y" for option in CONFIG.split()]
    fragment.write_text("\n".join([*options, "CONFIG_SAMPLE_LIVEPATCH=m", ""]))
    make(sources, folder, prefix, f"KCONFIG_ALLCONFIG={fragment}", "allnoconfig", log=log)
    config = (folder / ".config").read_text()
    for option in [*options, "CONFIG_MPROFILE_KERNEL=y"]:
        if option not in config:
            raise Failure(f"the configuration lacks {option}")
    begun, before = time.monotonic(), cpu_time()
    make(sources, folder, prefix, f"-j{jobs}", "vmlinux", "modules", log=log)
    wall, cpu = time.monotonic() - begun, cpu_time() - before
    # The folder's name is in the debug information, so both builds have to use the same.
    folder.rename(final)
    (final / "times").write_text(f"{wall:.0f} {cpu:.0f}\n")
    say(times_and_sizes(final))


def times_and_sizes(folder: Path) -> str:
    """What a build took, how large vmlinux is, and the code in it as `size` counts it."""
    wall, cpu = (folder / "times").read_text().split()
    shown = subprocess.run(
        [PREFIX + "size", folder / "vmlinux"], capture_output=True, text=True, check=True
    ).stdout
    text = shown.splitlines()[1].split()[0]
    size = (folder / "vmlinux").stat().st_size
    return f"{folder.name}: {wall} s, {cpu} s of CPU time; vmlinux {size} bytes, text {text}"


def toolchain(work: Path) -> str:
    """Make the folder of wrapped tools; returns what goes into CROSS_COMPILE."""
    folder = work / "tools"
    run(sys.executable, "-m", "nopfix.rewriter.build.toolchain", folder, "--for", PREFIX, cwd=ROOT)
    return f"{folder}/nopfix-"


def commands(folder: Path) -> dict[Path, list[str]]:
    """The compile command of each C object, by its path inside ``folder``."""
    found = {}
    for path in sorted(folder.rglob(".*.o.cmd")):
        line = path.read_text(errors="replace").partition("\n")[0].partition(" := ")[2]
        words = shlex.split(line.partition(" ; ")[0])
        # The build's own tools are compiled for this machine, with a plain gcc.
        if words and words[0].endswith("-gcc") and "-c" in words and words[-1].endswith(".c"):
            found[(path.parent / path.name[1:-4]).relative_to(folder)] = words
    return found


def skipped(path: Path) -> bool:
    """Whether the wrapper leaves this object alone."""
    from nopfix.rewriter.build import objects_in_place

    return objects_in_place.skips(str(path), None)


def objects(work: Path, count: int) -> None:
    """No call without slot; what nopfix-verify says of ``count`` objects (0: all)."""
    from nopfix.corpus import slots

    plain, fixed = work / "plain", work / "nopfix"
    paths = [path for path in commands(plain) if not skipped(path)]
    lacking = {path: slots.calls_without_slot(plain / path) for path in paths}
    left = {path: slots.calls_without_slot(fixed / path) for path in paths}
    changed = [path for path in paths if lacking[path]]
    say(
        f"objects: {len(paths)} from C, {len(changed)} with calls without slot before "
        f"({sum(map(len, lacking.values()))} calls), {sum(map(len, left.values()))} calls after"
    )
    for path, calls in left.items():
        for call in calls:
            say(f"  {path}: {call}")
    if any(left.values()):
        raise Failure("a call without slot is left")
    grown = [(fixed / p).stat().st_size - (plain / p).stat().st_size for p in changed]
    total = sum((plain / p).stat().st_size for p in changed)
    say(f"objects: those {len(changed)} grew by {100 * sum(grown) / total:.2f} %")
    unlike = [
        path
        for path in paths
        if not lacking[path] and (plain / path).read_bytes() != (fixed / path).read_bytes()
    ]
    say(f"objects: {len(paths) - len(changed)} needed nothing, {len(unlike)} of them changed")
    if unlike:
        raise Failure(f"changed without need: {', '.join(map(str, unlike))}")
    sample = changed if not count else random.Random(0).sample(changed, min(count, len(changed)))
    bad = [path for path in sample if not verified(plain / path, fixed / path)]
    say(f"objects: nopfix-verify passes {len(sample) - len(bad)} of {len(sample)}")
    if bad:
        raise Failure(f"not verified: {', '.join(map(str, bad))}")


def verified(before: Path, after: Path) -> bool:
    """Whether nopfix-verify takes ``after`` for ``before`` plus nops.

    The kernel's recordmcount has been over both: it adds a section and leaves the old header table
    behind as bytes that no section holds.  So the rewritten ``before`` is verified, and ``after``
    has to equal it in every section, relocation and symbol.
    """
    from nopfix import rewrite
    from nopfix.corpus import compare

    with tempfile.TemporaryDirectory() as scratch:
        expected = Path(scratch) / before.name
        expected.write_bytes(rewrite(before.read_bytes()).data)
        done = subprocess.run(
            [sys.executable, "-m", "nopfix.verifier", before, expected],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        found = compare.differences(after.read_bytes(), expected.read_bytes())
    if done.returncode:
        found.append((done.stderr or done.stdout).strip()[:500])
    for line in found[:5]:
        say(f"  {before.name}: {line}")
    return not found


class Side(NamedTuple):
    """One way to build: its name, the tree, the tools' prefix, what stands in front of make."""

    name: str
    tree: str
    prefix: str
    before: tuple[str, ...]


class Overhead(NamedTuple):
    """Seconds of each build on one ``side``, and of the one without the wrapper beside it.

    ``kind`` is "wall" or "CPU".
    """

    side: str
    kind: str
    wrapped: list[float]
    untouched: list[float]


def overhead(work: Path, rounds: int, jobs: int) -> list[Overhead]:
    """Wall and CPU time of building ``SUBSET`` without and with the wrapper, ``rounds`` times.

    Each tree is built as it was built before, from clean folders, all ways in turns, so that what
    else the machine does falls on each; the ratios are those of builds next to each other.
    """
    sources = prepare(work)
    tools = toolchain(work)
    serve = (
        sys.executable,
        "-c",
        "from nopfix.rewriter.build.server import main; raise SystemExit(main())",
    )
    sides = (
        Side("neither", "plain", PREFIX, ()),
        Side("wrapper", "nopfix", tools, ()),
        Side("nopfix-serve", "nopfix", tools, serve),
        Side("NOPFIX_VERIFY=1", "nopfix", tools, ("env", "NOPFIX_VERIFY=1", *serve)),
    )
    log = work / "overhead.log"
    log.unlink(missing_ok=True)
    times: dict[Side, list[tuple[float, float]]] = {side: [] for side in sides}
    made: dict[str, str] = {}
    count = 0
    for number in range(-1, rounds):  # the first for what make has to bring up to date
        for side in sides if number % 2 else sides[::-1]:
            count = clean(work / side.tree)
            (work / "build").unlink(missing_ok=True)
            (work / "build").symlink_to(side.tree)
            target = (f"-j{jobs}", *SUBSET)
            try:
                begun, before = time.monotonic(), cpu_time()
                make(sources, work / "build", side.prefix, *target, log=log, before=side.before)
                spent = (time.monotonic() - begun, cpu_time() - before)
            finally:
                (work / "build").unlink()
            if number >= 0:
                times[side].append(spent)
            found = digest(work / side.tree)
            if made.setdefault(side.tree, found) != found:
                raise Failure(f"{side.name} the objects differ from those before")
    say(
        f"overhead: {' '.join(SUBSET)}: {count} objects from C, {rounds} builds each, make -j{jobs}"
    )
    plain = times[sides[0]]
    found = []
    for side in sides[1:]:
        for index, kind in enumerate(("wall", "CPU")):
            wrapped, untouched = [b[index] for b in times[side]], [a[index] for a in plain]
            found.append(Overhead(side.name, kind, wrapped, untouched))
            ratios = [b / a for a, b in zip(untouched, wrapped, strict=True)]
            say(
                f"overhead: {kind} time: median {median(untouched):.2f} s, "
                f"with {side.name} {median(wrapped):.2f} s; "
                f"median ratio {median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
            )
    for tree in ("plain", "nopfix"):
        say(f"overhead: the whole build, {times_and_sizes(work / tree)}")
    return found


def digest(folder: Path) -> str:
    """One digest of all objects from C in `SUBSET`."""
    total = hashlib.sha256()
    for path in sorted(commands(folder)):
        if any(path.is_relative_to(part) for part in SUBSET):
            total.update((folder / path).read_bytes())
    return total.hexdigest()


def clean(folder: Path) -> int:
    """Remove what `SUBSET` makes from a tree; returns how many objects from C that is."""
    compiled = commands(folder)
    count = 0
    for part in SUBSET:
        count += sum(path.is_relative_to(part) for path in compiled)
        for path in (folder / part).rglob("*.[oa]"):
            path.unlink()
    if not count:
        raise Failure(f"{folder} was never built with {' '.join(SUBSET)}")
    return count


def cpu_time() -> float:
    """User and system time of all processes that have ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def initramfs(target: Path, files: Mapping[str, bytes]) -> None:
    """Write an initramfs (cpio "newc"): ``files`` by name, of which ``init`` is run first."""
    folders = {str(parent) for name in files for parent in PurePath(name).parents} - {"."}
    archive = b"".join(_entry(name, 0o40755) for name in sorted(folders | {"dev", "lib"}))
    archive += _entry("dev/console", 0o20600, device=(5, 1))
    for name, data in files.items():
        archive += _entry(name, 0o100755, data)
    target.write_bytes(gzip.compress(archive + _entry("TRAILER!!!", 0), 1))


def _entry(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
    header = b"070701" + b"".join(b"%08x" % number for number in numbers)
    entry = header + name.encode() + b"\0"
    entry += b"\0" * (-len(entry) % 4) + data
    return entry + b"\0" * (-len(entry) % 4)


def boot_with(work: Path, kernel: Path, modules: list[Path]) -> list[str]:
    """Boot a kernel, let init load ``modules``; returns the console's lines."""
    files = {f"lib/{module.name}": module.read_bytes() for module in modules}
    files["modules"] = "".join(f"{module.stem}\n" for module in modules).encode()
    return boot_files(work, kernel, Path(__file__).with_name("init.c"), files)


def boot_files(
    work: Path,
    kernel: Path,
    init: Path,
    files: Mapping[str, bytes],
    seconds: int = 600,
    memory: str = "1G",
) -> list[str]:
    """Boot a kernel with ``files`` and ``init``, a C source, as its first process.

    Returns the console's lines, which are kept in ``work/console.log`` as well.  Raises Failure
    when the machine isn't off after ``seconds``.
    """
    work.mkdir(parents=True, exist_ok=True)
    program = work / "init"
    run(PREFIX + "gcc", "-static", "-O2", init, "-o", program)
    initramfs(work / "initrd.gz", {"init": program.read_bytes(), **files})
    command = [
        *QEMU,
        "-m",
        memory,
        "-kernel",
        kernel,
        "-initrd",
        work / "initrd.gz",
        "-append",
        COMMAND_LINE,
    ]
    with (work / "console.log").open("wb") as console:
        try:
            subprocess.run(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            raise Failure(f"not done after {seconds} s, see {work / 'console.log'}") from None
    shown = (work / "console.log").read_text(errors="replace")
    return [line.strip() for line in shown.splitlines()]


def expect(lines: list[str], *patterns: str) -> None:
    """Show the lines that match; raises Failure unless each pattern is found."""
    for pattern in patterns:
        found = [line for line in lines if re.search(pattern, line)]
        if not found:
            tail = "\n  ".join(lines[-15:])
            raise Failure(f"the console shows no line like {pattern!r}; its end:\n  {tail}")
        say(f"  {found[0]}")


def boot(work: Path) -> None:
    """Both kernels boot and take the livepatch sample."""
    for name in ("plain", "nopfix"):
        say(f"boot: {name}")
        sample = work / name / "samples/livepatch/livepatch-sample.ko"
        lines = boot_with(work, work / name / "vmlinux", [sample])
        expect(
            lines,
            "^init: up",
            f"^init: cmdline before: {COMMAND_LINE}",
            "^init: load livepatch-sample: ok",
            f"^init: cmdline after: {PATCHED}",
            "^init: done",
        )


def mission(work: Path) -> None:
    """The module that the project exists for, refused without slots and loaded with them."""
    sources = prepare(work)
    folder = work / "mission"
    shutil.rmtree(folder, ignore_errors=True)
    made = []
    kernel = work / "nopfix"
    # The kernel's makefiles know their build folder by the name that it was built under.
    (work / "build").unlink(missing_ok=True)
    (work / "build").symlink_to("nopfix")
    try:
        for kind, prefix in (("plain", PREFIX), ("nopfix", toolchain(work))):
            module = folder / kind
            module.mkdir(parents=True)
            name = f"mission-{kind}"
            shutil.copy(ROOT / "samples/livepatch/livepatch-mission.c", module / f"{name}.c")
            (module / "Kbuild").write_text(f"obj-m := {name}.o\n")
            log = work / "mission.log"
            make(sources, work / "build", prefix, f"M={module}", f"{name}.o", log=log)
            make_foreign(module / f"{name}.o", "show_line", "seq_puts")
            make(sources, work / "build", prefix, f"M={module}", "modules", log=log)
            made.append(module / f"{name}.ko")
    finally:
        (work / "build").unlink()
    say("mission: a livepatch that calls what was a static function")
    lines = boot_with(work, kernel / "vmlinux", made)
    expect(
        lines,
        r"mission.plain: Expected nop after call, got [0-9a-f]+ at",
        "^init: load mission-plain: errno 8",
        "^init: load mission-nopfix: ok",
        "^init: cmdline after: mission: r2 intact after call 1",
        "^init: done",
    )


def make_foreign(path: Path, function: str, new_name: str) -> None:
    """Turn the local ``function`` of an object into an undefined ``new_name``.

    Its code stays where it is, without a name; calls go wherever the loader finds ``new_name``.
    """
    from nopfix.corpus.execution import make_foreign as cut

    renamed = path.with_suffix(".renamed")
    run(
        PREFIX + "objcopy",
        f"--redefine-sym={function}={new_name}",
        f"--globalize-symbol={new_name}",
        path,
        renamed,
    )
    data = cut(renamed.read_bytes(), new_name)
    renamed.unlink()
    path.write_bytes(data)


STEPS = ("plain", "nopfix", "objects", "overhead", "boot", "mission")


def main() -> int:
    """Run the steps; returns 0 when all came out as they have to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("steps", nargs="*", choices=[*STEPS, []], metavar="STEP")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "kernel", metavar="DIR")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument(
        "--verify", type=int, default=0, metavar="N", help="verify N objects (default: all)"
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="builds for overhead")
    options = parser.parse_args()
    work = options.work.resolve()
    prepare(work)
    try:
        for step in options.steps or STEPS:
            done = (work / step / "vmlinux").exists() and not options.steps
            if step == "plain" and not done:
                build(work, "plain", PREFIX, options.jobs)
            elif step == "nopfix" and not done:
                build(work, "nopfix", toolchain(work), options.jobs)
            elif step == "objects":
                objects(work, options.verify)
            elif step == "overhead":
                overhead(work, options.rounds, options.jobs)
            elif step == "boot":
                boot(work)
            elif step == "mission":
                mission(work)
    except Failure as failure:
        say(f"FAILED: {failure}")
        return 1
    say("all steps passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
