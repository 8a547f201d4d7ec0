"""What becomes of the patches in a running kernel: loaded, seen, taken back, gone.

The plan for the guest's init is a list of actions with the answers that are right; a case passes
when all of its answers are.  init.c says what the actions are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.kernel.kernel_test import boot_files
from tests.kpatch import kernels
from tests.kpatch.root import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from tests.kpatch.kernels import Folders, Kernel
    from tests.kpatch.root import Root

# The kernel refuses a module with a call that has no slot: ENOEXEC.
REFUSED = "errno 8"
# A machine that isn't off by then hangs; where others use the processors too it takes its time.
SECONDS = 3600
# The module that is loaded when its patch is.
COMING = "binfmt_misc.ko"


class Action(NamedTuple):
    """One line of the plan and the answer to it that is right."""

    action: str
    name: str
    answer: str


class Case(NamedTuple):
    """A patch compiled in one way: a name without blanks, its actions, the modules they load."""

    name: str
    actions: tuple[Action, ...]
    modules: dict[str, Path]


class Outcome(NamedTuple):
    """What became of a case: whether all answers were right, the first wrong one, all of them."""

    passed: bool
    wrong: str
    answers: dict[tuple[str, str, int], str]


def module_name(patch: str) -> str:
    """The name that the kernel knows a patch's module by."""
    return "livepatch_" + patch.replace("-", "_")


def works(patch: str, way: str, module: Path) -> Case:
    """A patch that loads: its effect is there while it is enabled, and only then."""
    file, name = f"{way}-{patch}.ko", module_name(patch)
    actions = [
        Action("probe", patch, "no"),
        Action("load", file, "ok"),
        Action("settle", name, "ok"),
        Action("probe", patch, "yes"),
        Action("disable", name, "ok"),
        Action("probe", patch, "no"),
        Action("unload", name, "ok"),
    ]
    if patch == "static-local":  # a value that the patched function has to find
        actions = [Action("syslog", "6", "ok"), *actions, Action("syslog", "7", "ok")]
    return Case(f"{way}/{patch}", tuple(actions), {file: module})


def refused(patch: str, way: str, module: Path) -> Case:
    """A patch that the kernel must not load."""
    file = f"{way}-{patch}.ko"
    actions = (
        Action("probe", patch, "no"),
        Action("load", file, REFUSED),
        Action("probe", patch, "no"),
        # Nothing is there to unload; after a wrong answer it mustn't stand in the way of others.
        Action("disable", module_name(patch), "errno 2"),
        Action("unload", module_name(patch), "errno 2"),
    )
    return Case(f"{way}/{patch}", actions, {file: module})


def replaces(first: str, second: str, way: str, modules: tuple[Path, Path]) -> Case:
    """A patch that atomically replaces one which is loaded."""
    files = [f"{way}-{patch}.ko" for patch in (first, second)]
    names = [module_name(patch) for patch in (first, second)]
    actions = (
        Action("load", files[0], "ok"),
        Action("settle", names[0], "ok"),
        Action("probe", first, "yes"),
        Action("load", files[1], "ok"),
        Action("settle", names[1], "ok"),
        Action("probe", second, "yes"),
        Action("probe", first, "no"),
        Action("disable", names[1], "ok"),
        Action("probe", second, "no"),
        Action("probe", first, "no"),
        Action("unload", names[0], "ok"),
        Action("unload", names[1], "ok"),
    )
    return Case(f"{way}/{second}", actions, dict(zip(files, modules, strict=True)))


def boot(root: Root, kernel: Kernel, cases: Sequence[Case], name: str) -> dict[str, Outcome]:
    """Boot the kernel once for all cases; returns what became of each, by its name.

    Raises Failure when the machine doesn't come to its end.
    """
    place = kernels.folders(root, kernel)
    files = {f"lib/{m.name}": m.read_bytes() for m in sorted(place.kept.glob("*.ko"))}
    lines = [f"base load {m.name}" for m in sorted(place.kept.glob("*.ko")) if m.name != COMING]
    for case in cases:
        files |= {f"lib/{file}": module.read_bytes() for file, module in case.modules.items()}
    console = boot_plan(place, name, files, cases, lines)
    return {case.name: outcome(case, console) for case in cases}


def boot_plan(
    place: Folders,
    name: str,
    files: Mapping[str, bytes],
    cases: Iterable[Case],
    first: Iterable[str] = (),
) -> list[str]:
    """Boot a kernel with ``files``; returns what the console showed.

    The plan has the lines ``first``, then the actions of ``cases``.
    """
    lines = [*first, *(f"{c.name} {one.action} {one.name}" for c in cases for one in c.actions)]
    plan = "".join(f"{line}\n" for line in lines).encode()
    work = place.kept.with_name(f"boot-{name}")
    init = PROJECT / "tests" / "kpatch" / "init.c"
    vmlinux = place.kept / "vmlinux"
    return boot_files(work, vmlinux, init, {**files, "plan": plan}, seconds=SECONDS)


def outcome(case: Case, console: Iterable[str]) -> Outcome:
    """What the console says of a case."""
    start = f"init: {case.name} "
    # A line of the kernel's can stand in front of one of init's.
    shown = [line[line.index(start) + len(start) :] for line in console if start in line]
    wrong = "" if shown else "the machine never came to it"
    answers: dict[tuple[str, str, int], str] = {}
    for number, action in enumerate(case.actions):
        what = f"{action.action} {action.name}: "
        said = shown[number].removeprefix(what) if number < len(shown) else "nothing"
        answers[(action.action, action.name, number)] = said
        if said != action.answer and not wrong:
            wrong = f"{what}{said}, not {action.answer}"
    return Outcome(not wrong, wrong, answers)
