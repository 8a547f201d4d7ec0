"""The table of patches: what each changes and needs, and what became of it in each way."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.kernel.kernel_test import PREFIX
from tests.kpatch import building, kernels, patches

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.kpatch.guest import Outcome
    from tests.kpatch.kernels import Kernel
    from tests.kpatch.patches import Patch
    from tests.kpatch.root import Root


class Need(NamedTuple):
    """What the objects of a patch need: slots, and how many sibling calls they have."""

    slots: int
    sibling_calls: int


def needs(root: Root, kernel: Kernel, patch: Patch) -> Need | None:
    """What the objects with changed functions need, as the compiler alone makes them.

    None when the patch wasn't built with nopfix.
    """
    import nopfix
    from nopfix.rewriter.kpatch import sibling_calls
    from nopfix.rewriter.object import elf

    built = kernels.folders(root, kernel).patches / patch.name / "nopfix"
    if not (built / "status").exists():
        return None
    objects = building.read(patch, built).objects
    slots = siblings = 0
    for name in sorted(objects):
        data = compiled(root, kernel, name, built / "source").read_bytes()
        slots += len(nopfix.rewrite(data).report.insertions)
        siblings += len(sibling_calls.find(elf.read(data)))
    return Need(slots, siblings) if objects else None


def compiled(root: Root, kernel: Kernel, name: str, outside: Path) -> Path:
    """An object of the kernel as kpatch-build has it compiled, but by the compiler alone.

    The command is the one that make noted when it compiled the object with nopfix, in the kernel's
    folder or in that of a module which is ``outside``.
    """
    place = kernels.folders(root, kernel)
    target = place.source.with_name("alone") / name
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    base = outside if outside.exists() else place.source
    noted = (base / name).with_name(f".{Path(name).name}.cmd").read_text()
    words = shlex.split(noted.partition("\n")[0].partition(" := ")[2].partition(" ; ")[0])
    while not words[0].startswith("-"):
        del words[0]
    words = [word for word in words if not word.startswith(("-fplugin", "-Wp,-M"))]
    words[words.index("-o") + 1] = str(target)
    path = (root.cross(kernel.compiler),)
    root.run(f"{PREFIX}gcc", *words, log=place.log, cwd=place.source, path=path)
    return target


def _results(root: Root, kernel: Kernel) -> Path:
    return kernels.folders(root, kernel).kept.with_name("outcomes.json")


def keep(root: Root, kernel: Kernel, outcomes: Mapping[str, Outcome]) -> None:
    """Keep what became of the cases beside the kernel."""
    path = _results(root, kernel)
    old = json.loads(path.read_text()) if path.exists() else {}
    new = {name: [o.passed, o.wrong, list(o.answers.values())] for name, o in outcomes.items()}
    path.write_text(json.dumps(old | new, indent=1))


def table(root: Root, kernel: Kernel, chosen: Sequence[Patch]) -> str:
    """The rows for a kernel, as Markdown."""
    path = _results(root, kernel)
    outcomes = json.loads(path.read_text()) if path.exists() else {}
    lines = [
        f"| {kernel.name}, GCC {kernel.compiler} | changed functions | slots | sibling calls "
        "| none | plugin | nopfix |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for patch in chosen:
        what = needs(root, kernel, patch)
        cells = [_became(root, kernel, patch, way, outcomes) for way in building.WAYS]
        functions: tuple[str, ...] = ()
        for way in building.WAYS:
            folder = kernels.folders(root, kernel).patches / patch.name / way
            if (folder / "status").exists():
                functions = building.read(patch, folder).functions or functions
        shown = ", ".join(f"`{name}`" for name in functions)
        numbers = [str(n) for n in what] if what else ["", ""]
        lines.append(" | ".join([f"| {patch.name}", shown, *numbers, *cells]) + " |")
    return "\n".join(lines)


def _became(
    root: Root, kernel: Kernel, patch: Patch, way: str, outcomes: Mapping[str, list[object]]
) -> str:
    """One cell: built ("all": by default targets), loaded, effect; or where it ended."""
    folder = kernels.folders(root, kernel).patches / patch.name / way
    if not (folder / "status").exists():
        return ""
    built = building.read(patch, folder)
    if built.module is None:
        meant = patch.result != patches.LOADS and patch.result in built.said
        return f"not built, as meant: {patch.result}" if meant else "not built"
    made = "all built" if built.targets == building.DEFAULT else "built"
    found = outcomes.get(f"{way}/{patch.name}")
    if found is None:
        return made
    _passed, wrong, answers = found
    assert isinstance(answers, list)
    if "errno 8" in answers:
        return f"{made}, refused by the kernel"
    return f"{made}, {wrong}" if wrong else f"{made}, loaded, effect"
