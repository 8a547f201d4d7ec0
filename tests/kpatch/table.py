"""The table of patches: what each changes and needs, and what became of it in each way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from tests.kpatch import building, kernels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.kpatch.guest import Outcome
    from tests.kpatch.kernels import Kernel
    from tests.kpatch.patches import Patch
    from tests.kpatch.root import Root


class Need(NamedTuple):
    """What the objects of a patch need: slots, and how many sibling calls they have."""

    slots: int
    sibling_calls: int


def need(folder: Path) -> Need:
    """What the patched objects in ``folder``, as the compiler made them, need."""
    import rewriter
    from rewriter import elf, sibling_calls

    slots = siblings = 0
    for path in sorted(folder.rglob("*.o")):
        data = path.read_bytes()
        siblings += len(sibling_calls.find(elf.read(data)))
        slots += len(rewriter.rewrite(data).report.insertions)
    return Need(slots, siblings)


def needs(root: Root, kernel: Kernel, patch: Patch) -> Need | None:
    """The same for a patch; None when it wasn't compiled without nopfix."""
    folder = kernels.folders(root, kernel).patches / patch.name / "none" / "patched"
    return need(folder) if folder.exists() else None


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
        f"| {kernel.version}, GCC {kernel.compiler} | changed functions | slots | sibling calls "
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
    """One cell: built, loaded, effect; or where it ended."""
    folder = kernels.folders(root, kernel).patches / patch.name / way
    if not (folder / "status").exists():
        return ""
    if building.read(patch, folder).module is None:
        return "not built"
    found = outcomes.get(f"{way}/{patch.name}")
    if found is None:
        return "built"
    _passed, wrong, answers = found
    assert isinstance(answers, list)
    if "errno 8" in answers:
        return "built, refused by the kernel"
    return f"built, {wrong}" if wrong else "built, loaded, effect"
