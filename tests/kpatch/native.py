"""nopfix on a ppc64le host: a Debian root folder of that architecture under qemu-user.

    python -m tests.kpatch native

The packages are unpacked, not configured: no maintainer script has to be emulated.  The kernel's
binfmt_misc of a user namespace of our own knows the emulator, so nothing is registered outside.

install   from the wheel, with pyelftools, without capstone
bytes     nopfix over the samples and a kernel's objects: the bytes that it makes here
wrapper   nopfix-toolchain around the root's own gcc: what it compiles has its slots
kpatch    a patch by kpatch-build as users run it, on ppc64le; the module loads and works
load      kpatch's own command, with this root's shell and tools, in a guest: load, list, unload
tests     the test suite, a file at a time, but for what checks the project's own papers and
          tools.  Debian's native compiler bears its target's name too, so it stands for the cross
          compiler.  What a file came to is kept; one that passed isn't run again until it or nopfix
          has changed
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tests.kernel.kernel_test import Failure, run, say
from tests.kpatch import building, edits, guest, kernels, loading, packages, patches
from tests.kpatch.root import PROJECT, mirror

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.kpatch.root import Root

# The release that has kpatch-build 0.9.11 and the compilers of all kernels.
SUITE = "sid"
PACKAGES = """
python3 python3-venv python3-pip gcc gcc-{compiler} g++ libc6-dev binutils make bc bison flex gawk
kmod libelf-dev libssl-dev openssl patch patchutils perl rsync xz-utils elfutils cpio util-linux
"""
KERNEL, PATCH = kernels.KERNELS[0], patches.STATIC_CALL
# ELF, 64 bits, little-endian, e_machine 21; flags F: the emulator is opened once, outside.
PPC64 = b"\x15\x00"
MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x15\x00"
MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
TESTS = ("tests/dwarf", "tests/rewriter", "tests/verifier")
# Seconds of processor time for one file of tests; the emulated interpreter is some 20 times slower.
LIMIT = 1800
PARTS = ("install", "bytes", "wrapper", "kpatch", "load", "tests")
# A user namespace and, once its users are mapped, its own mounts.
# Signals that whoever started this ignores aren't ignored within: tests send them.
NAMESPACE = (
    *("env", "--default-signal=HUP,INT,QUIT", "unshare", "--user"),
    *("sh", "-c", 'echo; read _; exec unshare --mount "$@"', "sh"),
)
USERS = 65536
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
# Tests of what qemu-user does otherwise than Linux: posix_spawn doesn't hear of a program that
# can't be run; a signal that is ignored is no more after two execs; SIGXFSZ ends the emulator.
EMULATED = (
    "test_the_status_is_the_compilers",
    "test_the_status_is_the_commands",
    "test_a_missing_compiler_is_one_line_and_127",
    "test_without_a_compiler_for_this_machine_the_commands_are_scripts",
    "test_a_hangup_that_the_caller_ignores_ends_nothing",
    "test_a_file_that_cannot_grow_leaves_the_output_as_it_was",
)
# Modules that have no wheel for every architecture, or need one that hasn't.
LACKING = r"^(import|from) (capstone|keystone|jsonschema)"


class Native:
    """The root folder below a work folder, and commands run within it."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.root = work / "native"
        self.home = work / "native-home"
        self.log = work / "native.log"

    def run(
        self,
        *words: object,
        environment: Sequence[str] = (),
        path: Sequence[Path] = (),
        cwd: Path | None = None,
        fails: bool = False,
    ) -> str:
        """Run a command within; returns what it printed.

        Raises Failure when it ends with another status than 0, unless it may (``fails``).
        """
        emulator = self.work / "qemu/usr/bin/qemu-ppc64le-static"
        script = (
            "set -e; root=$1; work=$2; project=$3; emulator=$4; shift 4; "
            "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc; "
            f"printf '%s\\n' ':ppc64le:M::{MAGIC}:{MASK}:'\"$emulator\"':F' "
            ">/proc/sys/fs/binfmt_misc/register; "
            'for at in /dev /proc "$work" "$project"; do mkdir -p "$root$at"; '
            'mount --rbind "$at" "$root$at"; done; exec chroot "$root" "$@"'
        )
        shell = [*NAMESPACE, "sh", "-c", script, "sh"]
        settings = [
            f"PATH={':'.join([*map(str, path), SYSTEM_PATH])}",
            f"HOME={self.home}",
            "LC_ALL=C.UTF-8",
            "PYTHONDONTWRITEBYTECODE=1",
            *environment,
        ]
        inside = ["/usr/bin/env", "-i", "-C", str(cwd or self.home), *settings]
        inside += map(str, words)
        places = [str(p) for p in (self.root, self.work, PROJECT, emulator)]
        status, out, err = in_namespace([*shell, *places, *inside])
        with self.log.open("a") as log:
            log.write(f"$ {' '.join(map(str, words))}\n{out}{err}")
        if status and not fails:
            shown = (err or out).strip().splitlines()[-1:]
            raise Failure(f"{words[0]} ended with status {status}: {' '.join(shown)}")
        return out

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
        included = ",".join(PACKAGES.format(compiler=KERNEL.compiler).split())
        words = ("--foreign", "--arch=ppc64el", "--variant=minbase", f"--include={included}")
        run("debootstrap", *words, SUITE, self.root, mirror(), log=self.log)
        for package in sorted((self.root / "var/cache/apt/archives").glob("*.deb")):
            run("dpkg-deb", "-x", package, self.root, log=self.log)
        self._configure()
        packages.fetch(self.work / "ppc64el", SUITE, "kpatch-build", self.log, self.root)
        (self.root / "unpacked").touch()

    def _configure(self) -> None:
        """What maintainer scripts would have made and is needed: a link, pip's certificates."""
        (self.root / "usr/bin/awk").symlink_to("gawk")
        certificates = sorted((self.root / "usr/share/ca-certificates").rglob("*.crt"))
        bundle = self.root / "etc/ssl/certs/ca-certificates.crt"
        bundle.write_text("".join(path.read_text() for path in certificates))

    def install(self) -> str:
        """From a wheel, as a user would; nothing but its two dependencies comes along."""
        wheels, python = self.home / "wheels", self.home / "venv/bin/python"
        shutil.rmtree(self.home / "venv", ignore_errors=True)
        shutil.rmtree(wheels, ignore_errors=True)
        pip = (sys.executable, "-m", "pip", "-q")
        run(*pip, "wheel", "--no-deps", "-w", wheels, PROJECT, log=self.log)
        run(*pip, "download", "-d", wheels, "pyelftools>=0.30", log=self.log)
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
        """The root's own gcc behind nopfix-gcc, and behind nopfix's gcc in front of it on $PATH."""
        from nopfix.corpus import slots

        prefixed, plain = self.home / "tools", self.home / "tools-plain"
        for folder, prefix in ((prefixed, "nopfix-"), (plain, "")):
            shutil.rmtree(folder, ignore_errors=True)
            self.run(self.home / "venv/bin/nopfix-toolchain", folder, "--prefix", prefix)
        shutil.copyfile(PROJECT / "samples/recursion.c", self.home / "recursion.c")
        lacking = []
        for compiler, path in (("gcc", []), (prefixed / "nopfix-gcc", []), ("gcc", [plain])):
            self.run(compiler, "-O2", "-g", "-c", "recursion.c", "-o", "recursion.o", path=path)
            lacking.append(len(slots.calls_without_slot(self.home / "recursion.o")))
        if not lacking[0] or any(lacking[1:]):
            raise Failure(f"calls without slot: {lacking[0]} by gcc, {lacking[1:]} by nopfix's")
        return f"{lacking[0]} calls without slot by gcc, none by nopfix-gcc, none by nopfix's gcc"

    def kpatch(self, root: Root) -> str:
        """kpatch-build on ppc64le, for a kernel that was built elsewhere; the module is booted."""
        folder = self.home / "kpatch"
        module = folder / f"livepatch-{PATCH.name}.ko"
        if not module.exists():
            self._kpatch(root, folder)
        case = guest.works(PATCH.name, "native", module)
        outcome = guest.boot(root, KERNEL, [case], "native")[case.name]
        if not outcome.passed:
            raise Failure(outcome.wrong)
        return f"{PATCH.name} for {KERNEL.version}: built, loaded, effect"

    def _kpatch(self, root: Root, folder: Path) -> None:
        kept = kernels.folders(root, KERNEL).kept
        source = kernels.copy(root, KERNEL, "native")
        say("native: kpatch-build")
        for path in of_another_machine(source):
            path.unlink()
        building.take_back(folder.glob("*.patch"), source)
        shutil.rmtree(folder, ignore_errors=True)
        compiler = self.home / f"gcc-{KERNEL.compiler}"
        compiler.mkdir(exist_ok=True)
        if not (compiler / "gcc").is_symlink():
            (compiler / "gcc").symlink_to(f"/usr/bin/gcc-{KERNEL.compiler}")
        tools = self.home / f"tools-{KERNEL.compiler}"
        shutil.rmtree(tools, ignore_errors=True)
        self.run(self.home / "venv/bin/nopfix-toolchain", tools, path=[compiler])
        folder.mkdir()
        patch = folder / f"{PATCH.name}.patch"
        patch.write_text(edits.difference(PATCH.edits, source))
        targets = [word for name in PATCH.objects for word in ("-t", name)]
        words = ["kpatch-build", "-d", "-s", source, "-v", kept / "vmlinux", "-o", folder]
        # Debian's native compiler and its cross compiler are of one version and two revisions.
        words += ["--skip-compiler-check", *targets, patch]
        settings = [f"CROSS_COMPILE={tools}/nopfix-", f"CACHEDIR={folder}/cache"]
        self.run(*words, environment=settings, cwd=folder)

    def load(self, root: Root) -> str:
        """kpatch's own command loads a module that kpatch-build made with nopfix."""
        folder = kernels.folders(root, KERNEL).patches / PATCH.name / "nopfix"
        module = building.read(PATCH, folder).module if (folder / "status").exists() else None
        if module is None:
            raise Failure(f"{PATCH.name} hasn't been built for {KERNEL.version}")
        if not (self.root / "usr/sbin/kpatch").exists():
            packages.fetch(self.work / "ppc64el", SUITE, "kpatch", self.log, self.root)
        outcome = loading.boot(root, KERNEL, PATCH, module, self.root)
        if not outcome.passed:
            raise Failure(outcome.wrong)
        return f"{PATCH.name} for {KERNEL.version}: loaded, listed, unloaded by kpatch's command"

    def tests(self) -> str:
        """The test suite, a file at a time; raises Failure when a test of one fails."""
        wheels, python = self.home / "wheels", self.home / "venv/bin/python"
        # Later releases of hypothesis have code of an architecture.
        wanted = ("pytest>=8", "hypothesis>=6.100,<6.136", "setuptools")
        pip = (sys.executable, "-m", "pip", "-q")
        run(*pip, "download", "-d", wheels, *wanted, "--only-binary=:all:", log=self.log)
        pure = [path for path in wheels.glob("*-none-any.whl") if "nopfix" not in path.name]
        self.run(python, "-m", "pip", "install", "-q", "--no-index", "--no-deps", *pure)
        ours = building.digest()
        files = [path for name in TESTS for path in sorted((PROJECT / name).glob("test_*.py"))]
        # What imports a disassembler can't be read.
        left = [path for path in files if re.search(LACKING, path.read_text(), re.MULTILINE)]
        kept = self.home / "tests.json"
        known = json.loads(kept.read_text()) if kept.exists() else {}
        totals = Counter[str]()
        wrong = []
        for path in files:
            if path in left:
                continue
            name = str(path.relative_to(PROJECT))
            key = hashlib.sha256(ours.encode() + path.read_bytes()).hexdigest()[:12]
            if name not in known or known[name]["key"] != key or not passed(known[name]["counts"]):
                known[name] = {"key": key, "counts": self._tests(path)}
                kept.write_text(json.dumps(known, indent=1))
            totals.update(known[name]["counts"])
            if not passed(known[name]["counts"]):
                wrong.append(path.name)
        shown = ", ".join(f"{number} {what}" for what, number in sorted(totals.items()))
        without = ", ".join(path.name for path in left) or "none"
        said = f"{len(files) - len(left)} files: {shown}; left out: {without}"
        if wrong:
            raise Failure(f"{said}; wrong: {', '.join(wrong)}")
        return said

    def _tests(self, path: Path) -> dict[str, int]:
        """How many tests of a file passed, were skipped, failed."""
        python = self.home / "venv/bin/python"
        limited = ("sh", "-c", f'ulimit -t {LIMIT}; exec "$@"', "sh")
        command = (*limited, python, "-m", "pytest", "-rs", "--rootdir", PROJECT)
        command += ("-k", " and ".join(f"not {name}" for name in EMULATED))
        # What the emulated interpreter compiles is kept, beside the project.
        cache = ("PYTHONDONTWRITEBYTECODE=", f"PYTHONPYCACHEPREFIX={self.home}/pycache")
        environment = [f"PYTHONPATH={PROJECT}", *cache]
        shown = self.run(*command, path, environment=environment, fails=True)
        counts = outcomes(shown)
        say(f"native: {path.name}: {counts}")
        return counts


def in_namespace(words: Sequence[str]) -> tuple[int, str, str]:
    """Run ``words``, which begin with `NAMESPACE`; returns status, output, errors.

    A namespace that maps root alone knows no other owner: chown fails in it.  The wider map can be
    written from outside only, once the namespace is there (user_namespaces(7)).
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(
        words, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace"
    ) as process:
        if process.stdout and process.stdout.readline():
            for kind in ("uid_map", "gid_map"):
                Path(f"/proc/{process.pid}/{kind}").write_text(f"0 0 {USERS}\n")
        out, err = process.communicate("\n")
        return process.returncode, out, err


def outcomes(shown: str) -> dict[str, int]:
    """How many tests passed, failed, ..., by pytest's last line; without one the run didn't end."""
    last = shown.strip().splitlines()[-1:]
    found = re.findall(r"(\d+) (passed|skipped|deselected|failed|errors?)\b", "".join(last))
    return {what.rstrip("s"): int(number) for number, what in found} or {"unfinished": 1}


def passed(counts: Mapping[str, int]) -> bool:
    """Whether nothing went wrong in a run of pytest with these `outcomes`."""
    return not counts.keys() - {"passed", "skipped", "deselected"}


def of_another_machine(tree: Path) -> list[Path]:
    """The ELF files of a kernel's tree that were made for the machine that built it.

    They have been made anew where another machine builds; make only asks whether they are there.
    """
    found = []
    for path in tree.rglob("*"):
        if path.suffix in (".c", ".h", ".rst", ".S", ".cmd") or path.is_symlink():
            continue
        if path.is_file():
            with path.open("rb") as stream:
                head = stream.read(20)
            if head[:4] == b"\x7fELF" and head[18:20] != PPC64:
                found.append(path)
    return found


def check(
    root: Root, objects: Sequence[Path], parts: Sequence[str], count: Callable[[bool, str], None]
) -> None:
    """The ``parts`` of `PARTS`; ``count`` hears of each whether it held."""
    if os.geteuid():
        raise Failure("a root folder is made by root")
    native = Native(root.work)
    native.make()
    actions: dict[str, Callable[[], str]] = {
        "install": native.install,
        "bytes": lambda: native.bytes(objects),
        "wrapper": native.wrapper,
        "kpatch": lambda: native.kpatch(root),
        "load": lambda: native.load(root),
        "tests": native.tests,
    }
    for name in parts:
        try:
            count(True, f"native: {name}: {actions[name]()}")
        except Failure as failure:
            count(False, f"native: {name}: {failure}")
