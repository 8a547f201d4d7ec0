"""What distributions make of the sources: Debian's package, and Fedora's spec file.

The Debian package is built by dpkg-buildpackage and looked at by lintian.  The spec file is read by
rpmspec and rpmlint with stand-ins for Fedora's macros; it is built on Fedora only.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PACKAGES = ("rewriter", "dwarf", "verifier", "corpus")
NOT_SOURCES = ("__pycache__", ".*_cache", "*.egg-info")
NOT_AT_THE_TOP = {".git", ".venv", ".cache", "build"}  # there is a rewriter/build


def copy_sources(root: Path, target: Path) -> None:
    """Copy a checkout without what has been made in it."""
    by_pattern = shutil.ignore_patterns(*NOT_SOURCES)

    def ignored(folder: str, names: list[str]) -> set[str]:
        return by_pattern(folder, names) | (NOT_AT_THE_TOP if Path(folder) == root else set())

    shutil.copytree(root, target, symlinks=True, ignore=ignored)


def missing(*programs: str) -> list[str]:
    """Those of the programs that aren't installed."""
    return [name for name in programs if shutil.which(name) is None]


def debian(root: Path, folder: Path) -> str:
    """Build the package of the checkout ``root`` into ``folder``; returns a line about it.

    Raises `subprocess.CalledProcessError` where it can't be built or lintian finds something.
    """
    if lacking := missing("dpkg-buildpackage", "dh", "dh_python3", "lintian"):
        return f"no Debian package: {', '.join(lacking)} not installed"
    with tempfile.TemporaryDirectory(prefix="nopfix-debian.") as scratch:
        copy = Path(scratch) / "nopfix"
        copy_sources(root, copy)
        subprocess.run(
            ["dpkg-buildpackage", "-us", "-uc", "-b"],
            cwd=copy,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        (changes,) = Path(scratch).glob("*.changes")
        subprocess.run(
            ["lintian", "--allow-root", "--fail-on=error,warning,info", changes], check=True
        )
        (made,) = Path(scratch).glob("*.deb")
        _check(root, made, Path(scratch) / "unpacked")
        shutil.copy(made, folder)
    return f"ok: {made.name}, lintian finds nothing"


def _check(root: Path, package: Path, folder: Path) -> None:
    """Every module is in the package, and every command starts.  Raises `CalledProcessError`."""
    subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    modules = folder / "usr" / "share" / "nopfix" / "nopfix"
    compare = ["diff", "-r", "-x", "__pycache__"]
    for name in PACKAGES:
        subprocess.run([*compare, root / name, modules / name], check=True)
    for command in (folder / "usr" / "bin").iterdir():
        code = command.read_text().replace("/usr/share/nopfix", str(modules.parent))
        subprocess.run(
            ["/usr/bin/python3", "-c", code, "--help"],
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "NOPFIX_CC": "true"},
            check=True,
            stdout=subprocess.DEVNULL,
        )


def fedora(root: Path) -> str:
    """Read the spec file; returns a line about it.

    Raises `subprocess.CalledProcessError` where it can't be read or rpmlint finds something.
    """
    if lacking := missing("rpmspec", "rpmlint"):
        return f"the spec file isn't looked at: {', '.join(lacking)} not installed"
    spec = root / "nopfix.spec"
    read = ["rpmspec", "--load", HERE / "fedora.macros", "-P", spec]
    done = subprocess.run(read, check=True, stdout=subprocess.PIPE, text=True)
    left = [line for line in done.stdout.splitlines() if "%{" in line or "%py" in line]
    if left:
        raise subprocess.CalledProcessError(1, read, f"macros that are left: {left}")
    subprocess.run(["rpmlint", "--rpmlintrc", HERE / "nopfix.rpmlintrc", spec], check=True)
    return "ok: nopfix.spec, rpmlint finds nothing"
