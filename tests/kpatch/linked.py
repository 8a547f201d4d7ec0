"""The links of a kernel, rewritten: as good as the link of rewritten objects?

klp-build works on vmlinux.o and the modules' objects, all of them the output of `ld -r`.  So every
C object is compiled by plain GCC with klp-build's flags, by the command that make kept, and linked
twice: as it is, the link being rewritten, and rewritten before.  Their code is to be the same,
nopfix-verify is to agree, and what it took is said.  What is assembled stays out: numbers that the
kernel's macros leave behind might be distances in any code of all of vmlinux (docs/klp-build.md).

    python -m tests.kpatch --kernel 7.2 linked
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from elftools.elf.constants import SH_FLAGS

from nopfix.corpus import compare
from tests.bench import paired
from tests.kernel.kernel_test import PREFIX, Failure, say
from tests.kpatch import commands, kernels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.kpatch.commands import Command
    from tests.kpatch.kernels import Kernel
    from tests.kpatch.root import Root

FLAGS = ("-ffunction-sections", "-fdata-sections")
# kpatch-build leaves commands that say these.
OTHERWISE = (*FLAGS, "-mcmodel=large")
NOPFIX = ("nopfix", "-q", "--leave-unproved")


class Cost(NamedTuple):
    """What a command took: processor time in seconds, most memory in MB, if that is more than this
    process has: what is said of one begins with the size of what started it.
    """

    seconds: float
    memory: float | None

    def __str__(self) -> str:
        """As it is said."""
        memory = "" if self.memory is None else f" with {self.memory:.0f} MB"
        return f"in {self.seconds:.1f} s of processor time{memory}"


def compare_links(root: Root, kernel: Kernel, jobs: int) -> str:
    """Link, rewrite, compare vmlinux's C objects and each module's; returns what was seen.

    Raises Failure where a link differs from that of rewritten objects.
    """
    place = kernels.folders(root, kernel)
    work = place.source.with_name("linked")
    known = {command.name: command for command in commands.commands(place.source)}
    wrong, said = [], []
    for link, names in _links(place.source).items():
        todo = [known[name] for name in names if name in known]
        with ThreadPoolExecutor(jobs) as pool:
            plain = list(pool.map(lambda one: _compiled(root, kernel, work, one), todo))
        pairs = [(path, _rewritten(path)) for path in plain]
        one, found = _compared(root, place.log, work / link, pairs)
        said.append(f"{link}, {len(pairs)} objects, {one}")
        wrong += [f"{link}: {line}" for line in found]
    for line in wrong:
        say(f"{kernel.name}: {line}")
    if wrong:
        raise Failure("; ".join(said))
    return "; ".join(said)


def _links(tree: Path) -> dict[str, list[str]]:
    """What is linked of which objects, by their names in the tree."""
    members = _printed("ar", "t", tree / "vmlinux.a").split()
    links = {"vmlinux": [name.removeprefix(f"{tree}/") for name in members]}
    for module in (tree / "modules.order").read_text().split():
        name = module.removesuffix(".o")
        links[name] = (tree / f"{name}.mod").read_text().split()
    return links


def _compared(
    root: Root, log: Path, link: Path, pairs: Sequence[tuple[Path, Path]]
) -> tuple[str, list[str]]:
    """Both links of objects as they were and as they are: what they took, how they differ."""
    whole, parts, ours = (link.with_suffix(f".{way}.o") for way in ("plain", "parts", "ours"))
    for objects, made in zip(zip(*pairs, strict=True), (whole, parts), strict=True):
        _link(root, log, objects, made)
    rewriting = _cost([*NOPFIX, whole, ours])
    took = f"{whole.stat().st_size / 1e6:.1f} MB, rewritten {rewriting}"
    code, unlike = _unlike(ours, parts)
    took += f", {len(code) - len(unlike)} of {len(code)} sections of code as in the other link"
    found = [f"{name} is not as in the link of rewritten objects" for name in unlike]
    try:
        verifying = _cost(["nopfix-verify", whole, ours])
    except Failure as failure:
        return took, [*found, str(failure)]
    return f"{took}, verified {verifying}", found


def _unlike(one: Path, other: Path) -> tuple[list[str], list[str]]:
    """The names of the sections of code of a link, and of those whose bytes the other has not."""
    sections = [compare.read(path.read_bytes()).sections for path in (one, other)]
    flag = SH_FLAGS.SHF_EXECINSTR
    code = [section.name for section in sections[0] if section.flags & flag]
    pairs = zip(*sections, strict=True)
    return code, [a.name for a, b in pairs if a.flags & flag and a.data != b.data]


def _compiled(root: Root, kernel: Kernel, work: Path, command: Command) -> Path:
    """Compile an object into ``work``, unless it is there; returns its path."""
    path, place = work / command.name, kernels.folders(root, kernel)
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = [flag for flag in command.flags if flag not in OTHERWISE]
    partial = path.with_suffix(".partial")
    words = (f"{PREFIX}gcc-{kernel.compiler}", "-w", *flags, "-g", *FLAGS)
    root.run(*words, "-c", command.source, "-o", partial, log=place.log, cwd=place.source)
    partial.rename(path)
    return path


def _rewritten(path: Path) -> Path:
    """The object rewritten by itself, unless it is there."""
    made = path.with_suffix(".nopfix.o")
    if not made.exists():
        _cost([*NOPFIX, path, made])
    return made


def _link(root: Root, log: Path, objects: Sequence[Path], link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    listing = link.with_suffix(".list")
    listing.write_text("\n".join(map(str, objects)))
    words = (f"{PREFIX}ld", "-EL", "-m", "elf64lppc", "-z", "noexecstack", "-r")
    root.run(*words, "-o", link, f"@{listing}", log=log, cwd=link.parent)


def _cost(command: Sequence[object]) -> Cost:
    """Run one of our own commands.  Raises Failure with what it said."""
    words = [str(word) for word in command]
    words[0] = str(Path(sys.executable).with_name(words[0]))
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(words, stdout=said, stderr=said)
        used = paired.finished(process)
        if process.returncode:
            said.seek(0)
            raise Failure(f"{' '.join(words)}: {said.read()[:500]}")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory = used.ru_maxrss / 1000 if used.ru_maxrss > own else None
    return Cost(used.ru_utime + used.ru_stime, memory)


def _printed(*words: object) -> str:
    """What a command prints."""
    return subprocess.run([*map(str, words)], check=True, capture_output=True, text=True).stdout
