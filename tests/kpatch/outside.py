"""A module out of the kernel's tree: built by plain GCC, patched by kpatch-build with nopfix.

kpatch's own script does it.  Debian's (0.9.11-1.1) applies the patch in the kernel's folder, where
the file isn't.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.kernel.kernel_test import PREFIX, say
from tests.kpatch import building, edits, guest, kernels
from tests.kpatch.edits import after_declarations
from tests.kpatch.guest import Action, Case
from tests.kpatch.patches import Patch
from tests.kpatch.root import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kpatch.building import Built
    from tests.kpatch.kernels import Kernel
    from tests.kpatch.root import Root

PATCH = Patch(
    "outside",
    "a module out of the kernel's tree",
    ("outside.o",),
    (
        after_declarations(
            "outside.c", "outside_show", '\tseq_printf(m, "nopfix %d\\n", outside_next(2));\n'
        ),
    ),
)
MODULE = "outside.ko"


def build(root: Root, kernel: Kernel, way: str, jobs: int) -> Built:
    """The module and its live patch, unless they are there."""
    place = kernels.folders(root, kernel)
    folder = place.patches / PATCH.name / way
    if not (folder / "status").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _build(root, kernel, way, folder, jobs)
    return building.read(PATCH, folder)


def module(root: Root, kernel: Kernel) -> Path:
    """Where the module is that is loaded, as plain GCC made it."""
    return kernels.folders(root, kernel).kept.with_name("outside") / MODULE


def _build(root: Root, kernel: Kernel, way: str, folder: Path, jobs: int) -> None:
    place, log = kernels.folders(root, kernel), folder / "log"
    kernel_folder = kernels.copy(root, kernel, way)
    how = building.setting(root, kernel, way, log)
    source = folder / "source"
    shutil.copytree(PROJECT / "tests/kpatch/outside", source)
    environment = {"KERNEL": str(kernel_folder)}
    say(f"{kernel.name}: a module out of the tree, {way}")
    make = ("make", "ARCH=powerpc", f"CROSS_COMPILE={PREFIX}", "default")
    path = (root.cross(kernel.compiler),)
    root.run(*make, log=log, cwd=source, environment=environment, path=path)
    plain = module(root, kernel)
    plain.parent.mkdir(exist_ok=True)
    shutil.copyfile(source / MODULE, plain)
    patch = folder / f"{PATCH.name}.patch"
    patch.write_text(edits.difference(PATCH.edits, source))
    cache = folder / "cache"
    words = [building.release(root, log) / "kpatch-build", "-d", "-j", str(jobs)]
    words += ["-s", kernel_folder, "-v", place.kept / "vmlinux", "-t", "default"]
    words += ["--oot-module-src", source, "--oot-module", plain, "-o", folder, patch]
    environment |= {"CROSS_COMPILE": how.prefix, "CACHEDIR": str(cache), **how.environment}
    status = root.status(*words, log=log, cwd=folder, environment=environment, path=how.path)
    building.finish(folder, status, building.OWN)


def case(root: Root, kernel: Kernel, way: str, patch: Path) -> Case:
    """The module is loaded, its patch works, both are unloaded."""
    works = guest.works(PATCH.name, way, patch)
    actions = (
        Action("load", MODULE, "ok"),
        *works.actions,
        Action("unload", "outside", "ok"),
    )
    return Case(works.name, actions, {**works.modules, MODULE: module(root, kernel)})
