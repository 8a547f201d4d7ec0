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
NOT_SOURCES = (".git", ".venv", "build", "__pycache__", ".*_cache", ".cache", "*.egg-info")


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
        shutil.copytree(root, copy, symlinks=True, ignore=shutil.ignore_patterns(*NOT_SOURCES))
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
        made = [shutil.copy(path, folder) for path in Path(scratch).glob("*.deb")]
    return f"ok: {', '.join(Path(path).name for path in made)}, lintian finds nothing"


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
