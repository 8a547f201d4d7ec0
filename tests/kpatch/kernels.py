"""The kernels: Debian's sources, a small configuration, built by plain GCC and never by nopfix.

A kernel is built in its source folder, since that is where kpatch-build builds; what is booted is
kept beside it, for kpatch-build's own build overwrites it.  The other ways to compile a patch get
copies of the folder.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, NamedTuple

from tests.kernel.kernel_test import PREFIX, Failure, run, say
from tests.kpatch import packages

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kpatch.root import Root


class Kernel(NamedTuple):
    """A kernel by the version in its package's name, its compiler, and how ftrace enters it.

    ``configuration``: none for the small one below, or the name of one of Debian's packages that
    has one.  ``modules`` are what is built beside vmlinux.  ``discards_checks``: vmlinux lacks
    symbols of files with tracepoints, which kpatch 0.9.11 looks for.
    """

    version: str
    compiler: str
    entries: str
    configuration: str = ""
    modules: tuple[str, ...] = ("modules",)
    discards_checks: bool = False

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.version + ("-debian" if self.configuration else "")


KERNELS = (
    Kernel("6.1", "12", "CONFIG_MPROFILE_KERNEL=y"),
    Kernel("6.12", "14", "CONFIG_ARCH_USING_PATCHABLE_FUNCTION_ENTRY=y"),
    Kernel("7.2", "16", "CONFIG_PPC_FTRACE_OUT_OF_LINE=y", discards_checks=True),
)
# Only the modules that are patched, of Debian's thousands.
DEBIAN = KERNELS[1]._replace(
    configuration="linux-image-6.12.*-powerpc64le",
    modules=("fs/overlayfs/overlay.ko", "fs/binfmt_misc.ko", "drivers/block/loop.ko"),
)
# What Debian's configuration lacks for a live patch, and keys that aren't in the sources.
DEBIAN_CHANGES = """
CONFIG_LIVEPATCH=y
CONFIG_SYSTEM_TRUSTED_KEYS=""
"""

CONFIG = """
64BIT PPC64 PPC_BOOK3S_64 CPU_LITTLE_ENDIAN PPC_PSERIES SMP PPC_FPU ALTIVEC VSX
PPC_OF_BOOT_TRAMPOLINE MODULES MODULE_UNLOAD PRINTK BUG GENERIC_BUG DEBUG_BUGVERBOSE JUMP_LABEL
KALLSYMS KALLSYMS_ALL FTRACE FUNCTION_TRACER DYNAMIC_FTRACE LIVEPATCH BLK_DEV_INITRD RD_GZIP
BINFMT_ELF BINFMT_SCRIPT TTY HVC_CONSOLE PROC_FS PROC_SYSCTL SYSFS DEVTMPFS DEBUG_KERNEL
DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT MULTIUSER FUTEX EPOLL EVENTFD SIGNALFD TIMERFD POSIX_TIMERS
ADVISE_SYSCALLS SHMEM TMPFS TMPFS_XATTR SCHEDSTATS SYSVIPC CGROUPS CPUSETS CGROUP_PIDS BPF_SYSCALL
ELF_CORE NAMESPACES UTS_NS FILE_LOCKING
"""
MODULES = ("BINFMT_MISC", "OVERLAY_FS")

# What of a build is booted, and what kpatch-build compares with.
KEPT = ("vmlinux", ".config", "Module.symvers")


class Folders(NamedTuple):
    """Where a kernel's things are: its source and build, what was kept, its patches, its log."""

    source: Path
    kept: Path
    patches: Path
    log: Path

    def copy(self, way: str) -> Path:
        """The folder in which kpatch-build compiles the way of that name."""
        return (
            self.source
            if way in ("nopfix", "upstream", "plain")
            else self.source.with_name(f"source-{way}")
        )


def folders(root: Root, kernel: Kernel) -> Folders:
    """The folders of a kernel in the work folder."""
    base = root.work / kernel.name
    return Folders(base / "source", base / "kept", base / "patches", base / "build.log")


def build(root: Root, kernel: Kernel, jobs: int) -> None:
    """Unpack, configure and build a kernel with its own GCC, unless that is done already."""
    place = folders(root, kernel)
    if (place.kept / "done").exists():
        return
    place.patches.mkdir(parents=True, exist_ok=True)
    if not (place.source / "Makefile").exists():
        say(f"{kernel.name}: unpacking the sources")
        name = f"linux-source-{kernel.version}"
        archive = root.path / f"usr/src/{name}.tar.xz"
        run("tar", "xf", archive, "-C", place.source.parent, log=place.log)
        (place.source.parent / name).rename(place.source)
    make = ("make", "ARCH=powerpc", f"CROSS_COMPILE={PREFIX}")
    path = (root.cross(kernel.compiler),)
    fragment = place.source.with_name("fragment")
    if not (place.source / ".config").exists():
        target = _debian(root, kernel) if kernel.configuration else _small(fragment)
        settings = {"KCONFIG_ALLCONFIG": str(fragment)}
        words = (*make, target)
        root.run(*words, log=place.log, cwd=place.source, environment=settings, path=path)
    config = (place.source / ".config").read_text().splitlines()
    asked = {*fragment.read_text().splitlines(), kernel.entries}
    if lacking := asked.difference(config):
        raise Failure(f"{kernel.name}: the configuration lacks {', '.join(sorted(lacking))}")
    say(f"{kernel.name}: building with GCC {kernel.compiler}")
    for targets in (("vmlinux",), kernel.modules):
        words = (*make, f"-j{jobs}", *targets)
        root.run(*words, log=place.log, cwd=place.source, path=path)
    shutil.rmtree(place.kept, ignore_errors=True)
    place.kept.mkdir()
    for name in KEPT:
        shutil.copyfile(place.source / name, place.kept / name)
    for module in place.source.rglob("*.ko"):
        shutil.copyfile(module, place.kept / module.name)
    (place.kept / "done").touch()


def _small(fragment: Path) -> str:
    """What is asked of the small configuration; returns the target that completes it."""
    options = [f"CONFIG_{option}=y" for option in CONFIG.split()]
    options += [f"CONFIG_{option}=m" for option in MODULES]
    fragment.write_text("\n".join([*options, ""]))
    return "allnoconfig"


def _debian(root: Root, kernel: Kernel) -> str:
    """Debian's own configuration, out of its package; returns the target that completes it."""
    place = folders(root, kernel)
    folder = packages.fetch(root.work / "ppc64el", "trixie", kernel.configuration, place.log)
    settings = next(folder.glob("boot/config-*")).read_text().splitlines()
    changes = DEBIAN_CHANGES.split()
    names = tuple(f"{change.partition('=')[0]}=" for change in changes)
    kept = [line for line in settings if not line.startswith(names)]
    (place.source / ".config").write_text("\n".join([*kept, *changes, ""]))
    place.source.with_name("fragment").write_text("\n".join([*changes, ""]))
    return "olddefconfig"


def copy(root: Root, kernel: Kernel, way: str) -> Path:
    """The folder to compile in for ``way``; made from the kernel's own when it isn't there.

    Raises Failure when the kernel's own is no longer as GCC made it: kpatch-build's flags would be
    those of another way.
    """
    place = folders(root, kernel)
    target = place.copy(way)
    if not (target / "Makefile").exists():
        say(f"{kernel.name}: copying the source for {way}")
        partial = target.with_name(f"{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        run("cp", "-a", place.source, partial, log=place.log)
        partial.rename(target)
    return target
