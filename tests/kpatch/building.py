"""kpatch-build at work: one patch for one kernel, compiled one of three ways.

The script is unmodified.  It takes this machine for a ppc64le one because of a ``uname`` in front
of ``$PATH``; its other way, TARGET_ARCH, asks the kernel for an architecture named ppc64le, which
there isn't.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.kernel.kernel_test import PREFIX, Failure, run
from tests.kpatch import edits, kernels, upstream
from tests.kpatch.edits import Edit
from tests.kpatch.root import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.kpatch.kernels import Folders, Kernel
    from tests.kpatch.patches import Patch
    from tests.kpatch.root import Root

# The compiler alone, with kpatch's plugin, with nopfix.
WAYS = ("none", "plugin", "nopfix")
# With nopfix by the copy of the script that docs/kpatch-upstream.md describes.
UPSTREAM = "upstream"
# With nopfix as its papers have it: the patch's name is all that kpatch-build is given.
PLAIN = "plain"
# With nopfix, and a compiler that makes no sibling calls.
SIBLINGS = "siblings"
PLUGIN = "usr/lib/kpatch/ppc64le-plugin.so"
DEFAULT, OWN = "default", "own"


class Built(NamedTuple):
    """What came of a patch: the module or None, the functions that changed and their objects.

    `targets` says what kpatch-build built: ``DEFAULT``, its default targets, or ``OWN``, the
    patch's objects.
    """

    module: Path | None
    functions: tuple[str, ...]
    objects: frozenset[str]
    said: str
    targets: str


class Setting(NamedTuple):
    """How kpatch-build is run: the script, the compiler's prefix, $PATH's first folders, more."""

    script: str
    prefix: str
    path: tuple[Path, ...]
    environment: dict[str, str]


def setting(root: Root, kernel: Kernel, way: str, log: Path) -> Setting:
    """How kpatch-build is run for ``way``; makes what that needs."""
    cross = root.cross(kernel.compiler)
    path = (root.host, cross)
    if way == "plugin":
        return Setting("kpatch-build", PREFIX, path, {})
    if way == "none":
        folder = root.work / "bare"
        for tool in cross.iterdir():
            name = folder / f"bare-{tool.name.removeprefix(PREFIX)}"
            if not (name.is_symlink() or name.name == "bare-gcc"):
                name.symlink_to(tool.readlink())
        return Setting("kpatch-build", f"{folder}/bare-", path, {})
    prefix = f"{toolchain(root, kernel.compiler, log)}/nopfix-"
    if way == UPSTREAM:
        script = upstream.copy(release(root, log).parent)
        return Setting(str(script), prefix, (cross,), {"TARGET_ARCH": "ppc64le"})
    environment = {"NOPFIX_SIBLING_CALLS": "compiler"} if way == SIBLINGS else {}
    return Setting("kpatch-build", prefix, path, environment)


def digest() -> str:
    """A number of twelve digits for nopfix's own sources as they are now."""
    found = hashlib.sha256()
    ours = ("build", ".venv", "tests")
    files = [
        path for path in PROJECT.rglob("*.py") if path.relative_to(PROJECT).parts[0] not in ours
    ]
    for path in sorted(files):
        found.update(path.read_bytes())
    return found.hexdigest()[:12]


def installed(root: Root, log: Path) -> Path:
    """The folder with nopfix as pip installs it; its name follows from the sources.

    Not the project's own folder: a build of hours goes on while that is worked on.
    """
    target = root.work / f"installed-{digest()}"
    if not target.exists():
        pip = (sys.executable, "-m", "pip", "-q", "install", "--no-deps")
        with tempfile.TemporaryDirectory(dir=root.work) as made:
            run(*pip, "--target", made, PROJECT, log=log)
            Path(made).chmod(0o755)
            with contextlib.suppress(OSError):  # Another run was faster.
                Path(made).rename(target)
                Path(made).mkdir()
    return target


def toolchain(root: Root, compiler: str, log: Path) -> Path:
    """The folder of tools that nopfix-toolchain makes around a compiler, up to date."""
    package = installed(root, log)
    folder = root.work / f"nopfix-{compiler}"
    made = folder / "made-by"
    if not made.exists() or made.read_text() != package.name:
        shutil.rmtree(folder, ignore_errors=True)
        command = ("python3", package / "bin/nopfix-toolchain", folder, "--for", PREFIX)
        environment = {"PYTHONPATH": str(package)}
        root.run(*command, log=log, environment=environment, path=(root.host, root.cross(compiler)))
        made.write_text(package.name)
    return folder


def release(root: Root, log: Path) -> Path:
    """The folder of kpatch's own script, with its programs made there, without the plugin."""
    kpatch = root.work / "kpatch"
    if not list(kpatch.glob("*[0-9]/kpatch-build/create-klp-module")):
        kpatch.mkdir(exist_ok=True)
        fetch = "apt-get source -q --download-only --tar-only kpatch && tar xf kpatch_*.orig.tar.*"
        root.run("sh", "-c", fetch, log=log, cwd=kpatch)
        folder = next(kpatch.glob("*[0-9]/kpatch-build"))
        programs = ("create-diff-object", "create-klp-module", "create-kpatch-module")
        root.run("make", "-C", folder, *programs, log=log, path=(root.host,))
    return next(kpatch.glob("*[0-9]/kpatch-build"))


def beside(root: Root, log: Path) -> str:
    """kpatch's own script beside Debian's, with the same programs; returns its name.

    From its own folder it would name another kpatch-cc, and make takes that for another compiler:
    all of the kernel would be compiled again.  Debian has moved the programs to /usr/lib.
    """
    name = "kpatch-build-release"
    script, programs = root.path / "usr/bin" / name, root.path / "usr/libexec/kpatch"
    if not programs.is_symlink():
        programs.symlink_to("../lib/kpatch")
    if not script.exists():
        shutil.copy(release(root, log) / "kpatch-build", script)
    return name


# Since Linux 6.18 a file with tracepoints has symbols that vmlinux hasn't.  kpatch 0.9.11 looks for
# them there; kpatch has passed over them since (its pull request 1490).
_DISCARDED = Edit(
    "lookup.c",
    r'strstr\(name, "__UNIQUE_ID_"\)',
    r'\g<0> || strstr(name, "__trace_check")',
    instead=True,
)


def mended(root: Root, log: Path) -> Path:
    """A copy of that folder whose create-diff-object knows what newer kernels discard."""
    base = release(root, log).parent
    copy = base.with_name(f"{base.name}-mended")
    if not (copy / "made").exists():
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(base, copy)
        folder = copy / "kpatch-build"
        for _old, new in edits.apply([_DISCARDED], folder).values():
            (folder / "lookup.c").write_text(new)
        root.run("make", "-C", folder, "create-diff-object", log=log, path=(root.host,))
        (copy / "made").touch()
    return copy / "kpatch-build"


def plugin(root: Root, kernel: Kernel, log: Path) -> bool:
    """Make kpatch's plugin for the kernel's GCC; whether it can be made."""
    source = release(root, log) / "gcc-plugins/ppc64le-plugin.c"
    target = root.work / f"ppc64le-plugin-{kernel.compiler}.so"
    if not target.exists():
        headers = f"/usr/lib/gcc-cross/{PREFIX[:-1]}/{kernel.compiler}/plugin/include"
        command = ("g++", "-shared", "-fPIC", "-fno-rtti", "-O2", f"-I{headers}", source)
        try:
            root.run(*command, "-o", target, log=log)
        except Failure:
            return False
    shutil.copyfile(target, root.path / PLUGIN)
    shutil.copyfile(target, source.with_suffix(".so"))
    return True


def build(
    root: Root, kernel: Kernel, patch: Patch, way: str, *, everything: bool, jobs: int
) -> Built:
    """Run kpatch-build; ``everything``: its default targets, otherwise the patch's objects only.

    What it said is kept, and so is what it said it with; a second call reads it again, unless it
    wants everything and there was only a part.
    """
    folder = kernels.folders(root, kernel).patches / patch.name / way
    done = (folder / "status").exists()
    if not done or (everything and read(patch, folder).targets != DEFAULT):
        _build(root, kernel, patch, way, everything=everything, jobs=jobs)
    return read(patch, folder)


def _build(
    root: Root, kernel: Kernel, patch: Patch, way: str, *, everything: bool, jobs: int
) -> None:
    place = kernels.folders(root, kernel)
    folder = place.patches / patch.name / way
    source = kernels.copy(root, kernel, way)
    take_back(unfinished(place, way), source)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    file = folder / f"{patch.name}.patch"
    file.write_text(edits.difference(patch.edits, source))
    log = folder / "log"
    how = setting(root, kernel, way, log)
    script = how.script
    if kernel.discards_checks and way != UPSTREAM:
        script = str(mended(root, log) / "kpatch-build")
    elif patch.jump_label and way != UPSTREAM:
        script = beside(root, log)
    environment = {"CROSS_COMPILE": how.prefix, **how.environment}
    if way == PLAIN:
        words: list[str | Path] = [script, file]
        environment |= as_before(root, place, folder / "cache")
    else:
        # No -c: a configuration that is copied is newer, and make asks the compiler 150 things
        # again.
        words = [script, "-d", "-j", str(jobs), "-s", source, "-v", place.kept / "vmlinux"]
        words += ["-o", folder]
        for target in [] if everything else patch.objects:
            # Not the object itself: a compile that failed has removed it.
            if list((source / target).parent.glob(f".{Path(target).name}.cmd")):
                words += ["-t", target]
                if way == SIBLINGS:  # make doesn't know that it would come out otherwise now
                    (source / target).unlink(missing_ok=True)
        words.append(file)
        environment["CACHEDIR"] = str(folder / "cache")
    status = root.status(*words, log=log, cwd=folder, environment=environment, path=how.path)
    finish(folder, status, DEFAULT if everything else OWN)


def as_before(root: Root, place: Folders, home: Path) -> dict[str, str]:
    """Makes the running kernel's source what kpatch-build has kept of it, below ``home``.

    It fetches that once, as the running distribution has it, and finds it there the next time.
    vmlinux is where Debian's package with debugging information has it.  Returns the environment.
    """
    release = banner(place.kept / "vmlinux")
    kept = home / ".kpatch"
    kept.mkdir(parents=True)
    (kept / "src").symlink_to(place.source)
    (kept / "version").write_text(f"{release}\n")
    vmlinux = root.path / f"usr/lib/debug/boot/vmlinux-{release}"
    vmlinux.parent.mkdir(parents=True, exist_ok=True)
    vmlinux.unlink(missing_ok=True)
    vmlinux.symlink_to(place.kept / "vmlinux")
    return {"HOME": str(home), "RELEASE": release, "NOPFIX_LEAVE_UNPROVED": "1"}


def banner(vmlinux: Path) -> str:
    """The release that a kernel says it is.  Raises Failure when it doesn't."""
    found = re.search(rb"Linux version (\d\S*) ", vmlinux.read_bytes())
    if found is None:
        raise Failure(f"{vmlinux}: no version")
    return found[1].decode()


def take_back(patches: Iterable[Path], source: Path) -> None:
    """Take patches out of the sources, where a run that was killed has left them in."""
    for file in patches:
        words = ["patch", "-R", "-p1", "-f", "-s", "-r", "-", "-i", str(file)]
        tried = subprocess.run([*words, "--dry-run"], cwd=source, capture_output=True)
        if not tried.returncode:
            subprocess.run(words, cwd=source, check=True, capture_output=True)


def unfinished(place: Folders, way: str) -> list[Path]:
    """The patches of runs that never came to their end, in the folder that ``way`` compiles in."""
    files = place.patches.glob("*/*/*.patch")
    alike = [file for file in files if place.copy(file.parent.name) == place.copy(way)]
    return [file for file in alike if not (file.parent / "status").exists()]


def finish(folder: Path, status: int, targets: str) -> None:
    """Keep kpatch-build's own log and the objects that it compared; drop the rest."""
    cache = folder / "cache"
    if (cache / "build.log").exists():
        shutil.move(cache / "build.log", folder / "build.log")
    for name in ("orig", "patched", "output"):
        if (cache / "tmp" / name).exists():
            shutil.move(cache / "tmp" / name, folder / name)
    shutil.rmtree(cache, ignore_errors=True)
    (folder / "targets").write_text(targets)
    (folder / "status").write_text(f"{status}\n")


def read(patch: Patch, folder: Path) -> Built:
    """What a run of kpatch-build left in ``folder``."""
    shown = (folder / "log").read_text(errors="replace")
    lines = [line for line in shown.splitlines() if not line.startswith("+")]
    found = [
        match
        for line in lines
        if (match := re.search(r"(\S+\.o): (changed|new) function: (\S+)", line))
    ]
    functions = tuple(m[3] if m[2] == "changed" else f"{m[3]} (new)" for m in found)
    module = folder / f"livepatch-{patch.name}.ko"
    made = (folder / "status").read_text().strip() == "0" and module.exists()
    said = next((line for line in reversed(lines) if line.strip()), "")
    complaints = [
        line for line in lines if re.search(r"ERROR|unsupported sibling call|error:", line)
    ]
    objects = frozenset(match[1] for match in found)
    noted = folder / "targets"
    targets = noted.read_text() if noted.exists() else OWN
    words = " / ".join(complaints) or said
    return Built(module if made else None, functions, objects, words, targets)
