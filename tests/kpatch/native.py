"""nopfix on a ppc64le host: a Debian root folder of that architecture under qemu-user.

    python -m tests.kpatch native

The packages are unpacked, not configured: no maintainer script has to be emulated.  The kernel's
binfmt_misc of a user namespace of our own knows the emulator, so nothing is registered outside.

install   from the wheel, with pyelftools and construct, without capstone
bytes     nopfix over the samples and a kernel's objects: the bytes that it makes here
wrapper   nopfix-toolchain around the root's own gcc: what it compiles has its slots
tests     the tests that need no cross compiler and no disassembler, what is left out is named
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.kernel.kernel_test import Failure, run, say
from tests.kpatch.root import PROJECT, mirror

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SUITE = "bookworm"
PACKAGES = "python3,python3-venv,python3-pip,gcc,libc6-dev,binutils,make"
# ELF, 64 bits, little-endian, e_machine 21; flags F: the emulator is opened once, outside.
MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x15\x00"
MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
TESTS = ("tests/dwarf", "tests/rewriter")
# Modules that have no wheel for every architecture.
LACKING = r"^(import|from) (capstone|keystone)"


class Native:
    """The root folder below a work folder, and commands run within it."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.root = work / "native"
        self.home = work / "native-home"
        self.log = work / "native.log"

    def run(self, *words: object, environment: Sequence[str] = ()) -> str:
        """Run a command within; returns what it printed.  Raises Failure."""
        emulator = self.work / "qemu/usr/bin/qemu-ppc64le-static"
        script = (
            "set -e; root=$1; home=$2; project=$3; emulator=$4; shift 4; "
            "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc; "
            f"printf '%s\\n' ':ppc64le:M::{MAGIC}:{MASK}:'\"$emulator\"':F' "
            ">/proc/sys/fs/binfmt_misc/register; "
            'for at in /dev /proc "$home" "$project"; do mkdir -p "$root$at"; '
            'mount --rbind "$at" "$root$at"; done; exec chroot "$root" "$@"'
        )
        shell = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
        settings = [
            "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            f"HOME={self.home}",
            "LC_ALL=C.UTF-8",
            "PYTHONDONTWRITEBYTECODE=1",
            *environment,
        ]
        inside = ["/usr/bin/env", "-i", "-C", str(self.home), *settings, *map(str, words)]
        places = [str(p) for p in (self.root, self.home, PROJECT, emulator)]
        done = subprocess.run(
            [*shell, *places, *inside], capture_output=True, text=True, errors="replace"
        )
        with self.log.open("a") as log:
            log.write(f"$ {' '.join(map(str, words))}\n{done.stdout}{done.stderr}")
        if done.returncode:
            shown = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise Failure(f"{words[0]} ended with status {done.returncode}: {' '.join(shown)}")
        return done.stdout

    def make(self) -> None:
        """The root folder and the emulator; what is there already is kept."""
        self.home.mkdir(parents=True, exist_ok=True)
        if not (self.work / "qemu/usr/bin").exists():
            fetch = (
                "apt-get download -q qemu-user-static && dpkg-deb -x qemu-user-static_*.deb qemu"
            )
            run("sh", "-c", fetch, cwd=self.work, log=self.log)
        if (self.root / "unpacked").exists():
            return
        say(f"native: unpacking {SUITE} for ppc64el")
        words = ("--foreign", "--arch=ppc64el", "--variant=minbase", f"--include={PACKAGES}")
        run("debootstrap", *words, SUITE, self.root, mirror(), log=self.log)
        for package in sorted((self.root / "var/cache/apt/archives").glob("*.deb")):
            run("dpkg-deb", "-x", package, self.root, log=self.log)
        (self.root / "unpacked").touch()

    def install(self) -> str:
        """From a wheel, as a user would; nothing but its two dependencies comes along."""
        wheels, python = self.home / "wheels", self.home / "venv/bin/python"
        shutil.rmtree(self.home / "venv", ignore_errors=True)
        shutil.rmtree(wheels, ignore_errors=True)
        pip = (sys.executable, "-m", "pip", "-q")
        run(*pip, "wheel", "--no-deps", "-w", wheels, PROJECT, log=self.log)
        run(*pip, "download", "-d", wheels, "pyelftools>=0.30", "construct>=2.10", log=self.log)
        self.run("python3", "-m", "venv", self.home / "venv")
        self.run(
            python, "-m", "pip", "install", "-q", "--no-index", f"--find-links={wheels}", "nopfix"
        )
        machine = self.run(python, "-c", "import platform; print(platform.machine())").strip()
        listed = self.run(python, "-m", "pip", "list", "--format=freeze").split()
        if "capstone" in " ".join(listed) or machine != "ppc64le":
            raise Failure(f"installed on {machine}: {' '.join(listed)}")
        return f"{machine}: {' '.join(listed)}"

    def bytes(self, objects: Sequence[Path]) -> str:
        """nopfix over objects, here and there."""
        import nopfix

        compared = 0
        for path in objects:
            source, out = self.home / "in.o", self.home / "out.o"
            shutil.copyfile(path, source)
            out.unlink(missing_ok=True)
            self.run(self.home / "venv/bin/nopfix", source, out)
            if out.read_bytes() != nopfix.rewrite(path.read_bytes()).data:
                raise Failure(f"{path}: other bytes than here")
            compared += 1
        return f"{compared} objects, the same bytes"

    def wrapper(self) -> str:
        """The root's own gcc behind nopfix-gcc."""
        from nopfix.corpus import slots

        tools = self.home / "tools"
        self.run(self.home / "venv/bin/nopfix-toolchain", tools)
        shutil.copyfile(PROJECT / "samples/recursion.c", self.home / "recursion.c")
        lacking = []
        for compiler in ("gcc", tools / "nopfix-gcc"):
            self.run(compiler, "-O2", "-g", "-c", "recursion.c", "-o", "recursion.o")
            lacking.append(len(slots.calls_without_slot(self.home / "recursion.o")))
        if not lacking[0] or lacking[1]:
            raise Failure(f"calls without slot: {lacking[0]} by gcc, {lacking[1]} by nopfix-gcc")
        return f"{lacking[0]} calls without slot by gcc, none by nopfix-gcc"

    def tests(self) -> str:
        """The test suite without cross compilers; what needs them skips."""
        wheels, python = self.home / "wheels", self.home / "venv/bin/python"
        # Later releases of hypothesis have code of an architecture.
        wanted = ("pytest>=8", "hypothesis>=6.100,<6.136", "setuptools")
        pip = (sys.executable, "-m", "pip", "-q")
        run(*pip, "download", "-d", wheels, *wanted, "--only-binary=:all:", log=self.log)
        pure = [path for path in wheels.glob("*-none-any.whl") if "nopfix" not in path.name]
        self.run(python, "-m", "pip", "install", "-q", "--no-index", "--no-deps", *pure)
        command = (python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", PROJECT)
        folders = [PROJECT / name for name in TESTS]
        files = [path for folder in folders for path in sorted(folder.glob("test_*.py"))]
        left = [path for path in files if re.search(LACKING, path.read_text(), re.MULTILINE)]
        command += tuple(f"--ignore={path}" for path in left)
        shown = self.run(*command, *folders, environment=[f"PYTHONPATH={PROJECT}"])
        without = ", ".join(path.name for path in left) or "none"
        return f"{shown.strip().splitlines()[-1]}; left out: {without}"


def check(work: Path, objects: Sequence[Path], count: Callable[[bool, str], None]) -> None:
    """All of it; ``count`` hears of each step whether it held."""
    if os.geteuid():
        raise Failure("a root folder is made by root")
    native = Native(work)
    native.make()
    steps: tuple[tuple[str, Callable[[], str]], ...] = (
        ("install", native.install),
        ("bytes", lambda: native.bytes(objects)),
        ("wrapper", native.wrapper),
        ("tests", native.tests),
    )
    for name, step in steps:
        try:
            count(True, f"native: {name}: {step()}")
        except Failure as failure:
            count(False, f"native: {name}: {failure}")
