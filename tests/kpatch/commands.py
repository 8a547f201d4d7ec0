"""By which commands a kernel's C objects are compiled, without compiling them.

make keeps the command of each object beside it.  For a configuration of which nothing is built,
make runs with a compiler that makes every object an empty one: a minute's work where compiling is
an hour's, and the headers that a source needs are made on the way.
"""

from __future__ import annotations

import shlex
import shutil
from typing import TYPE_CHECKING, NamedTuple

from tests.kernel.kernel_test import PREFIX, say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kpatch.kernels import Kernel
    from tests.kpatch.root import Root

DEFCONFIG = "ppc64le_defconfig"
# Not part of the running kernel, or without a function of its own.
ELSEWHERE = ("arch/powerpc/boot/", "arch/powerpc/kernel/vdso/", "scripts/", "tools/", "usr/")
# What is said of the object otherwise: where it goes, what it depends on, its debug information.
OTHERWISE = ("-Wp,-MMD", "-Wp,-MD", "-g", "-fplugin=")

# What is made while headers are, so has to be what it says: objects whose contents are read, and
# programs that run in the kernel's place.
STAND_IN = """\
#!/bin/sh
case " $* " in
*" scripts/mod/"* | *"/vdso/"* | *"/boot/"*) ;;
*" -D__KERNEL__ "*" -c "*.c" ")
  while [ $# -gt 0 ]; do
    case $1 in
    -o) object=$2 ;;
    -Wp,-MMD,*) dependencies=${1#-Wp,-MMD,} ;;
    *.c) source=$1 ;;
    esac
    shift
  done
  cp EMPTY "$object"
  echo "$object: $source" > "$dependencies"
  exit
  ;;
esac
exec COMPILER "$@"
"""


class Command(NamedTuple):
    """How an object (by its name in the tree) is compiled: flags, and the source."""

    name: str
    flags: tuple[str, ...]
    source: str


def commands(tree: Path) -> list[Command]:
    """The commands that make kept for the C objects of a kernel's tree, by name."""
    return sorted(_commands(tree))


def _commands(tree: Path) -> Iterator[Command]:
    for kept in tree.rglob(".*.o.cmd"):
        name = str(kept.relative_to(tree).with_name(kept.name[1:-4]))
        line = kept.read_text(errors="replace").partition(":= ")[2].partition("\n")[0]
        words = shlex.split(line.partition(" ; ")[0])
        if name.startswith(ELSEWHERE) or not words or not words[-1].endswith(".c"):
            continue
        first = next(index for index, word in enumerate(words) if word.startswith("-"))
        flags = words[first:-1]
        if "-D__KERNEL__" not in flags:
            continue
        at = flags.index("-o")
        del flags[at : at + 2]
        wanted = [f for f in flags if f != "-c" and not f.startswith(OTHERWISE)]
        yield Command(name, tuple(wanted), words[-1])


def defconfig(root: Root, kernel: Kernel, jobs: int) -> Path:
    """A tree with the commands of `DEFCONFIG`, made when it isn't there.

    make's exit status says nothing here: what is linked of empty objects has no symbols.
    """
    base = root.work / kernel.name / "defconfig"
    tree, log = base / "source", base / "build.log"
    if (base / "done").exists():
        return tree
    base.mkdir(parents=True, exist_ok=True)
    name = f"linux-source-{kernel.version}"
    if not (tree / ".config").exists():
        say(f"{kernel.name}: the commands of {DEFCONFIG}")
        shutil.rmtree(tree, ignore_errors=True)
        root.run("tar", "xf", f"/usr/src/{name}.tar.xz", "-C", base, log=log)
        (base / name).rename(tree)
    compiler, empty, stand_in = f"{PREFIX}gcc", base / "empty.o", base / "stand-in"
    path = (root.cross(kernel.compiler),)
    words = (compiler, "-x", "c", "-c", "/dev/null", "-o", empty)
    root.run(*words, log=log, cwd=base, path=path)
    stand_in.write_text(STAND_IN.replace("EMPTY", str(empty)).replace("COMPILER", compiler))
    stand_in.chmod(0o755)
    make = ("make", "ARCH=powerpc", f"CROSS_COMPILE={PREFIX}", f"CC={stand_in}")
    for targets in ((DEFCONFIG,), ("prepare", "modules_prepare")):
        root.run(*make, f"-j{jobs}", *targets, log=log, cwd=tree, path=path)
    words = (*make, "-k", f"-j{jobs}", "vmlinux", "modules")
    root.status(*words, log=log, cwd=tree, environment={}, path=path)
    (base / "done").touch()
    return tree
