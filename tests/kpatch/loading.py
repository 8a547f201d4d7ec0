"""kpatch's own command in a guest: ``kpatch load`` and its kin, as the papers name them.

The guest has the shell and the tools of a ppc64le root folder, and Debian's ``kpatch`` package.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from elftools.elf.elffile import ELFFile

from tests.kpatch import guest, kernels
from tests.kpatch.guest import Action, Case

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kpatch.guest import Outcome
    from tests.kpatch.kernels import Kernel
    from tests.kpatch.patches import Patch
    from tests.kpatch.root import Root

# What the script runs for these actions, and what a shell needs to be one.
PROGRAMS = """
awk basename bash cat dirname grep insmod modinfo readelf readlink rmmod sh sleep uname
"""
LIBRARIES = "usr/lib/powerpc64le-linux-gnu"
LOADER = "ld64.so.2"


def case(patch: Patch, module: str) -> Case:
    """Loaded, loaded again, listed, unloaded; the patch's effect is there only in between."""
    actions = (
        Action("probe", patch.name, "no"),
        Action("run", f"kpatch load /lib/{module}", "ok"),
        Action("probe", patch.name, "yes"),
        Action("run", f"kpatch load /lib/{module}", "ok"),
        Action("run", f"kpatch list | grep '^{guest.module_name(patch.name)} .enabled.'", "ok"),
        Action("run", f"kpatch info /lib/{module} | grep '^livepatch: *Y'", "ok"),
        Action("run", f"kpatch unload {module}", "ok"),
        Action("probe", patch.name, "no"),
        Action("run", f"kpatch list | grep '^{guest.module_name(patch.name)} '", "errno 1"),
    )
    return Case(f"kpatch/{patch.name}", actions, {})


def boot(root: Root, kernel: Kernel, patch: Patch, module: Path, tools: Path) -> Outcome:
    """Boot the kernel with ``tools``, a root folder with kpatch's script in it.

    Raises Failure when the machine doesn't come to its end.
    """
    done = case(patch, module.name)
    files = programs(tools) | {f"lib/{module.name}": module.read_bytes()}
    console = guest.boot_plan(kernels.folders(root, kernel), "kpatch", files, [done])
    return guest.outcome(done, console)


def programs(tools: Path) -> dict[str, bytes]:
    """The programs of a root folder by where they go, with the libraries that they ask for."""
    files = {"usr/sbin/kpatch": (tools / "usr/sbin/kpatch").read_bytes()}
    wanted = []
    for name in PROGRAMS.split():
        found = [tools / folder / name for folder in ("usr/bin", "usr/sbin")]
        data = next(path for path in found if path.is_symlink() or path.exists()).read_bytes()
        files[f"usr/bin/{name}"] = data
        wanted += needed(data)
    # What scripts name in their first line.
    files |= {f"bin/{name}": files[f"usr/bin/{name}"] for name in ("bash", "sh")}
    files[f"lib64/{LOADER}"] = (tools / LIBRARIES / LOADER).read_bytes()
    while wanted:
        name = f"{LIBRARIES}/{wanted.pop()}"
        if name not in files:
            files[name] = (tools / name).read_bytes()
            wanted += needed(files[name])
    return files


def needed(data: bytes) -> list[str]:
    """The libraries that an ELF file names (DT_NEEDED)."""
    dynamic = ELFFile(io.BytesIO(data)).get_section_by_name(".dynamic")
    if dynamic is None:
        return []
    return [tag.needed for tag in dynamic.iter_tags() if tag.entry.d_tag == "DT_NEEDED"]
