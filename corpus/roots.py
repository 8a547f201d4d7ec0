"""Make roots: folders with another Debian release and its compilers for ppc64le.

debootstrap makes the release, with its signature checked by Debian's keyring; apt within puts the
compilers in.  A root that is there already is brought up to date.  While apt runs, /dev and /proc
are mounted in it, in a mount namespace of this process, so that nothing stays mounted
(corpus.chroot).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from nopfix.corpus import chroot, debian
from nopfix.corpus.toolchain import TARGET

if TYPE_CHECKING:
    from collections.abc import Iterable

_COMMON = ("binutils-powerpc64le-linux-gnu", "libc6-dev-ppc64el-cross", "qemu-user")


def _with_cxx(*versions: int) -> tuple[str, ...]:
    return tuple(f"{name}-{version}-{TARGET}" for version in versions for name in ("gcc", "g++"))


#: What each release's root is for.
PACKAGES: dict[str, tuple[str, ...]] = {
    "bullseye": (*_COMMON, *_with_cxx(9, 10), "clang-13", "clang-16"),
    "bookworm": (*_COMMON, *_with_cxx(11, 12), "clang-14", "clang-15", "clang-19"),
    "trixie": (*_COMMON, *_with_cxx(13, 14), "clang-17", "clang-18", "clang-22"),
    "sid": (*_COMMON, *_with_cxx(15, 16), "clang-21", "clang-23"),
}
_DEBOOTSTRAP_TRIES = 3
_POLICY = "#!/bin/sh\nexit 101\n"
_SETTINGS = """APT::Install-Recommends "0";
APT::Sandbox::User "root";
Acquire::Retries "3";
"""


def as_text() -> str:
    """Return the releases with their compilers, for the command's help."""
    return "; ".join(
        f"{suite} ({', '.join(_compiler_names(packages))})" for suite, packages in PACKAGES.items()
    )


def _compiler_names(packages: Iterable[str]) -> list[str]:
    return [found.group() for name in packages if (found := re.match(r"(?:gcc|clang)-\d+", name))]


def make(root: Path, suite: str, mirror: str = "", packages: Iterable[str] = ()) -> Path:
    """Make the root of a release at `root`, with `packages` besides its own; return it.

    Raises RootError where this process isn't root, AptError with what was said where the mirror
    lacks the release, a signature isn't good, or a package isn't there.
    """
    if os.geteuid():
        raise chroot.RootError("roots make needs to be root")
    debian.need("debootstrap", "gpgv", "chroot")
    mirror = mirror or debian.mirror()
    root.parent.mkdir(parents=True, exist_ok=True)
    if not (root / "usr/bin/apt-get").exists():
        _bootstrap(root, suite, mirror)
    _settle(root)
    chroot.show(str(root))
    _within(root, ["update"], suite)
    wanted = [*PACKAGES.get(suite, _COMMON), *packages]
    there = [name for name in wanted if _is_known(root, name)]
    for name in wanted:
        if name not in there:
            print(f"{suite}: the release has no {name}", flush=True)
    _within(root, ["install", "-y", *there], suite)
    return root


def compilers(root: Path) -> list[str]:
    """Return the names of the compilers in a root, as ``--cc`` takes them."""
    names = (path.name for path in (root / "usr/bin").iterdir())
    found = {
        name.removeprefix(f"{TARGET}-")
        for name in names
        if re.fullmatch(rf"{TARGET}-gcc-\d+|clang-\d+", name)
    }
    return sorted(found, key=lambda name: (name.split("-")[0], int(name.split("-")[1])))


def _bootstrap(root: Path, suite: str, mirror: str) -> None:
    """Make the bare release; what an interrupted try has left is taken away first."""
    command = ["debootstrap", "--variant=minbase", "--force-check-gpg"]
    command.append(f"--keyring={debian.KEYRING}")
    for left in reversed(range(_DEBOOTSTRAP_TRIES)):
        unfinished = root.with_name(f"{root.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        print(f"{suite}: debootstrap from {mirror}", flush=True)
        done = subprocess.run(
            [*command, suite, str(unfinished), mirror], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        if not done.returncode:
            unfinished.rename(root)
            return
        log = unfinished / "debootstrap/debootstrap.log"
        text = done.stdout + (log.read_text("utf-8", "replace") if log.exists() else "")
        lines = [line for line in text.splitlines() if re.match("E:|.*[Ee]rror|.*[Ii]nvalid", line)]
        said = (lines or text.strip().splitlines() or ["no message"])[-1]
        if not left:
            raise debian.AptError(f"{suite} from {mirror}: debootstrap: {said}")


def _settle(root: Path) -> None:
    """Let no service begin in the root, and its apt fetch as this system's does."""
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text(_POLICY)
    policy.chmod(0o755)
    (root / "etc/apt/apt.conf.d/90nopfix").write_text(_SETTINGS + _own_settings())
    if Path("/etc/resolv.conf").exists():
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")


def _own_settings() -> str:
    """Return what this system's apt is told about fetching: proxies, and whether age counts."""
    done = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False)
    wanted = re.compile(r'Acquire::(?:\w+::)?(?:Proxy|Check-Valid-Until|Max-ValidTime)\b.* ".+";$')
    return "".join(f"{line}\n" for line in done.stdout.splitlines() if wanted.match(line))


def _apt(root: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        chroot.inside(str(root), command), capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
    )  # fmt: skip


def _within(root: Path, words: list[str], suite: str) -> None:
    """Run apt-get in the root.  Raises AptError with what it said."""
    done = _apt(root, ["apt-get", "-qq", *debian.STRICT, *words])
    errors = [line[2:].strip() for line in done.stderr.splitlines() if line.startswith("E:")]
    if done.returncode or errors:
        said = errors[0] if errors else f"apt-get {words[0]} ended with status {done.returncode}"
        raise debian.AptError(f"{suite}: {debian.explained(said)}")


def _is_known(root: Path, package: str) -> bool:
    done = _apt(root, ["apt-cache", "show", "--no-all-versions", package])
    return not done.returncode and bool(done.stdout.strip())
