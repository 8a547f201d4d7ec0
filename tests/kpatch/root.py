"""A Debian root folder with kpatch-build and the cross compilers, and commands run within it.

kpatch-build 0.9.11 and the compilers of three kernels are in no one release, but Debian's unstable
has all of them; the kernels' sources come from their own releases.  Nothing stays mounted: a
command gets a mount namespace of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.kernel.kernel_test import PREFIX, Failure, run, say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROJECT = Path(__file__).parents[2]
SUITE = "sid"
SUITES = ("sid", "trixie", "bookworm")
COMPILERS = ("12", "14", "16")
KERNELS = ("6.1", "6.12", "7.2")
# kpatch-build's package asks for a documentation tool chain as well (TeX among it), so its files
# are taken out of it, and what the script and its programs run is named here.
TOOLS = """
bc binutils-powerpc64le-linux-gnu bison cpio dpkg-dev elfutils flex g++ gawk gcc kmod libc6-dev
libdw-dev libelf-dev libssl-dev make openssl patch patchutils perl python3 rsync xz-utils
"""
# What this machine has to have; installed when it isn't there.
HOST = {
    "debootstrap": "debootstrap",
    "qemu-system-ppc64": "qemu-system-ppc",
    PREFIX + "gcc": "gcc-powerpc64le-linux-gnu",
}
MOUNTED = ("/proc", "/sys", "/dev")
# Somebody else may be installing something; a run of hours can wait for that.
APT_INSTALL = ("apt-get", "-o", "DPkg::Lock::Timeout=600", "install", "-qqy")


class Root:
    """The root folder of a work folder ``work``; that and the project are seen in it by name."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.path = work / "root"

    def command(
        self, words: Sequence[object], cwd: Path, environment: Mapping[str, str]
    ) -> list[str]:
        """The command that runs ``words`` within, in ``cwd``, with ``environment`` and no other."""
        bound = [*MOUNTED, str(self.work), str(PROJECT)]
        script = (
            'set -e; root=$1; shift; while [ "$1" != -- ]; do mkdir -p "$root$1"; '
            'mount --rbind "$1" "$root$1"; shift; done; shift; exec chroot "$root" "$@"'
        )
        shell = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
        settings = [f"{name}={value}" for name, value in environment.items()]
        inside = ["/usr/bin/env", "-i", "-C", str(cwd), *settings, *map(str, words)]
        return [*shell, str(self.path), *bound, "--", *inside]

    def run(
        self,
        *words: object,
        log: Path,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        path: Sequence[Path] = (),
    ) -> None:
        """Run a command within, its output to the end of ``log``.  Raises Failure."""
        settings = _environment(path) | (environment or {})
        run(*self.command(words, cwd or self.work, settings), log=log)

    def status(
        self,
        *words: object,
        log: Path,
        cwd: Path,
        environment: Mapping[str, str],
        path: Sequence[Path],
    ) -> int:
        """The same, returning the exit status."""
        settings = _environment(path) | environment
        with log.open("ab") as stream:
            return subprocess.run(
                self.command(words, cwd, settings), stdout=stream, stderr=subprocess.STDOUT
            ).returncode

    def make(self) -> None:
        """Make the folder with all that is installed in it; what is there already is kept."""
        if os.geteuid():
            raise Failure("a root folder is made by root")
        log = self.work / "root.log"
        if missing := [package for tool, package in HOST.items() if not shutil.which(tool)]:
            run(*APT_INSTALL, "--no-install-recommends", *missing, log=log)
        if not (self.path / "usr/bin/apt-get").exists():
            say(f"root: debootstrap {SUITE}")
            run("debootstrap", "--variant=minbase", SUITE, self.path, mirror(), log=log)
        self._settings()
        if not (self.path / "usr/bin/kpatch-build").exists():
            self.run("apt-get", "update", "-q", log=log)
            sources = [f"linux-source-{version}" for version in KERNELS]
            kinds = ("gcc-{}-", "gcc-{}-plugin-dev-")
            cross = [kind.format(v) + PREFIX[:-1] for v in COMPILERS for kind in kinds]
            install = (*APT_INSTALL, *TOOLS.split(), *sources, *cross)
            say("root: tools, compilers, kernel sources")
            self.run(*install, log=log, environment={"DEBIAN_FRONTEND": "noninteractive"})
            fetch = (
                "cd /tmp && apt-get download -q kpatch-build && dpkg-deb -x kpatch-build_*.deb /"
            )
            self.run("sh", "-c", fetch, log=log)
        self._folders()

    def _settings(self) -> None:
        """apt's sources and settings; no service is started in the folder."""
        shutil.copyfile("/etc/resolv.conf", self.path / "etc/resolv.conf")
        policy = self.path / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        kinds = [("deb", suite) for suite in SUITES] + [("deb-src", SUITE)]
        lines = [f"{kind} {mirror()} {suite} main\n" for kind, suite in kinds]
        (self.path / "etc/apt/sources.list").write_text("".join(lines))
        # A mirror that is a snapshot has a list that has expired; the signature is checked all the
        # same.
        settings = (
            'APT::Install-Recommends "0";\nAPT::Sandbox::User "root";\nAcquire::Retries "3";\n'
            'Acquire::Check-Valid-Until "false";\n'
        )
        (self.path / "etc/apt/apt.conf.d/99nopfix").write_text(settings)

    def _folders(self) -> None:
        """A compiler without its version, and a uname, each in a folder that goes before $PATH."""
        for version in COMPILERS:
            folder = self.cross(version)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for tool in sorted((self.path / "usr/bin").glob(PREFIX + "*")):
                name = tool.name.removeprefix(PREFIX)
                if name == f"gcc-{version}":
                    (folder / (PREFIX + "gcc")).symlink_to(f"/usr/bin/{tool.name}")
                elif not name.startswith(("gcc", "g++", "cpp", "gcov", "lto")):
                    (folder / tool.name).symlink_to(f"/usr/bin/{tool.name}")
        for name, text in SCRIPTS.items():
            script = self.work / name
            script.parent.mkdir(parents=True, exist_ok=True)
            script.write_text(text)
            script.chmod(0o755)

    def cross(self, version: str) -> Path:
        """The folder with GCC ``version`` under its plain name."""
        return self.work / "cross" / f"gcc-{version}"

    @property
    def host(self) -> Path:
        """The folder whose uname says ppc64le, and of the running kernel what $RELEASE is."""
        return self.work / "host"


SCRIPTS = {
    "host/uname": (
        '#!/bin/sh\ncase "$*" in\n-m) echo ppc64le ;;\n'
        '-r) echo "${RELEASE:-$(/usr/bin/uname -r)}" ;;\n*) exec /usr/bin/uname "$@" ;;\nesac\n'
    ),
    # kpatch-build names a plugin; without one this is what the compiler makes.
    "bare/bare-gcc": (
        '#!/bin/bash\nfor word; do [[ $word = -fplugin=* ]] || words+=("$word"); done\n'
        f'exec {PREFIX}gcc "${{words[@]}}"\n'
    ),
}


def mirror() -> str:
    """The mirror that this machine's own apt is set to."""
    shown = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)"], capture_output=True, text=True
    ).stdout.split()
    for line in shown:
        if line.rstrip("/").endswith("/debian"):
            return line
    raise Failure("this machine's apt has no Debian mirror")


def _environment(path: Sequence[Path]) -> dict[str, str]:
    """What a command within sees: the folders ``path`` in front, the project's modules."""
    system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {
        "PATH": ":".join([*map(str, path), system]),
        "PYTHONPATH": str(PROJECT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "KBUILD_BUILD_TIMESTAMP": "2024-01-01",
        "KBUILD_BUILD_USER": "nopfix",
    }
