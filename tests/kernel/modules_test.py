"""A distribution's own kernel with its own modules, rewritten: the same ones load.

    python -m tests.kernel.modules_test --root DIR [--work DIR] [--count N]

DIR is an unpacked package of a kernel (dpkg-deb -x linux-image-VERSION-powerpc64le_*_ppc64el.deb
DIR), which has a vmlinux in boot/ and its modules below lib/modules.  N modules in which nopfix
puts slots (default 1000), and those that they need, are loaded one after the other in a guest, once
as they are packaged and once rewritten, without their signatures both times.  Each has to be taken
or turned down for the same reason both times (finit_module's errno), and the kernel has to warn of
nothing else.  Takes some ten minutes.

Left out are modules that test the kernel, or break it on purpose or not, when they are loaded.
"""

from __future__ import annotations

import argparse
import functools
import re
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nopfix import Refusal, rewrite
from nopfix.rewriter.object import appended, elf
from tests.kernel.kernel_test import Failure, boot_files, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

INIT = Path(__file__).parents[1] / "kpatch" / "init.c"
SIGNATURE = len("~Module signature appended~\n")
LEFT_OUT = re.compile(
    r"(test[_-].*|.*[_-]test|.*torture|torture|.*scale|tcrypt|lkdtm|.*-selftest|.*_selftest|"
    r".*-sample|preemptirq_delay_test|nvram|kunit.*|mtd_.*test)"
)
#: These look for ISA devices at fixed ports when they are loaded, and take a kernel with them whose
#: machine has no such ports.
OF_ISA = frozenset(("lightning", "mk712", "ns558", "wbsd"))
#: What the kernel says when something is wrong with it.
ALARM = re.compile(r"WARNING|BUG|Oops|Unable to handle|call trace|rcu_sched|stall|Bad ", re.I)
SECONDS = 5400


class Module(NamedTuple):
    """A module: its name, the names of those that it needs, and its bytes without signature."""

    name: str
    needs: tuple[str, ...]
    data: bytes


def unsigned(data: bytes) -> bytes:
    """A module's bytes without the signature at its end (Linux, scripts/sign-file.c)."""
    if not appended.is_signed(data):
        return data
    end = len(data) - SIGNATURE
    return data[: end - 12 - int.from_bytes(data[end - 4 : end], "big")]


def read(path: Path) -> Module:
    """The module in a file; what it needs stands in its .modinfo."""
    data = unsigned(path.read_bytes())
    obj = elf.read(data)
    number = next(s.number for s in obj.sections if s.name == ".modinfo")
    fields = bytes(obj.contents(number)).split(b"\0")
    needs = next(f.removeprefix(b"depends=") for f in fields if f.startswith(b"depends="))
    names = tuple(name.replace("-", "_") for name in needs.decode().split(",") if name)
    return Module(path.name.partition(".")[0].replace("-", "_"), names, data)


def wanted(name: str) -> bool:
    """Whether a module is one to load."""
    return name not in OF_ISA and not LEFT_OUT.fullmatch(name)


def in_order(chosen: Sequence[str], modules: Mapping[str, Module]) -> list[Module]:
    """The modules with these names, each behind those that it needs, which come along."""
    found: dict[str, Module] = {}

    def add(name: str) -> None:
        if name in modules and name not in found:
            for needed in modules[name].needs:
                add(needed)
            found[name] = modules[name]

    for name in chosen:
        add(name)
    return list(found.values())


def answers(console: Sequence[str]) -> dict[str, str]:
    """What became of each module, by its name."""
    found = {}
    for line in console:
        shown = re.search(r"init: x try (\S+)\.ko: (.*)", line)
        if shown:
            found[shown[1]] = shown[2]
    return found


def alarms(console: Sequence[str]) -> Counter[str]:
    """What the kernel warns of, without times and addresses."""
    lines = (re.sub(r"^\[[ \d.]+\]|0x[0-9a-f]+|[0-9a-f]{8,}", "", line).strip() for line in console)
    return Counter(line for line in lines if ALARM.search(line))


def sides(modules: Sequence[Module]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Both sets of files: as packaged, and rewritten where nopfix does."""
    yield "plain", {module.name: module.data for module in modules}
    yield "nopfix", {module.name: rewritten(module) or module.data for module in modules}


@functools.cache
def rewritten(module: Module) -> bytes | None:
    """The module with its slots; None where it needs none or can't have them."""
    try:
        new = rewrite(module.data).data
    except Refusal:
        return None
    return None if new == module.data else bytes(new)


def main() -> int:
    """Boot twice and compare; returns 0 where nothing differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, metavar="DIR")
    parser.add_argument("--work", type=Path, default=Path("build/modules"), metavar="DIR")
    parser.add_argument("--count", type=int, default=1000, metavar="N")
    options = parser.parse_args()
    (kernel,) = options.root.glob("boot/vmlinux-*")
    paths = sorted(options.root.glob("**/lib/modules/*/kernel/**/*.ko"))
    modules = {module.name: module for module in map(read, paths)}
    able = [name for name in modules if wanted(name) and rewritten(modules[name]) is not None]
    chosen = in_order(able[:: max(1, len(able) // options.count)][: options.count], modules)
    chosen = [module for module in chosen if wanted(module.name)]
    say(f"{len(paths)} modules, {len(able)} get slots, {len(chosen)} are loaded")
    consoles = {}
    for side, data in sides(chosen):
        files = {f"lib/{name}.ko": one for name, one in data.items()}
        files["plan"] = "".join(f"x try {module.name}.ko\n" for module in chosen).encode()
        consoles[side] = boot_files(
            options.work / side, kernel, INIT, files, seconds=SECONDS, memory="6G"
        )
    return compare(consoles, chosen)


def compare(consoles: Mapping[str, Sequence[str]], chosen: Sequence[Module]) -> int:
    """Say what differs between the two boots; returns 0 where nothing does."""
    before, after = (answers(consoles[side]) for side in ("plain", "nopfix"))
    if len(before) != len(chosen):
        raise Failure(f"the untouched kernel came to {len(before)} of {len(chosen)} modules")
    slots = sum(rewritten(module) is not None for module in chosen)
    loaded = Counter(before.values())
    say(f"{slots} of {len(chosen)} with slots; as packaged: {dict(loaded.most_common())}")
    wrong = [
        f"{module.name}: as packaged {before[module.name]}, rewritten {after.get(module.name)}"
        for module in chosen
        if before[module.name] != after.get(module.name)
    ]
    new = alarms(consoles["nopfix"]) - alarms(consoles["plain"])
    wrong += [f"only with slots: {line} ({count})" for line, count in new.items()]
    for line in wrong:
        say(line)
    say(f"{len(chosen) - len(wrong)} passed, {len(wrong)} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
