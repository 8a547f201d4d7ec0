"""Build the source package and the wheel, and try each extra in an empty environment.

Every command is run from an empty folder outside of the checkout: it works, or without its extra
says in one line which to install.  Takes minutes, most of them pip's.  Where this is a Debian
system with dpkg-buildpackage, the Debian package is built and looked at as well.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from tests.package import distributions

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SAMPLE = ROOT / "samples" / "recursion.o"
EXTRAS = ("", *(name for name in PROJECT["optional-dependencies"] if name != "test"))
CROSS = "powerpc64le-linux-gnu-"

CORPUS = {"corpus", "cluster", "all"}
"""The extras that bring what nopfix-corpus needs."""


class Failed(Exception):
    """Something isn't as it has to be; the text says what."""


def main() -> int:
    """Do all of it; returns the exit status."""
    options = argparse.ArgumentParser(prog="python -m tests.package", description=__doc__)
    options.add_argument("--python", action="append", help="an interpreter (default: this one)")
    options.add_argument("--wheel-only", action="store_true", help="no distribution's package")
    parsed = options.parse_args()
    made = build(ROOT / "build" / "dist")
    try:
        for python in parsed.python or [sys.executable]:
            for extra in EXTRAS:
                with tempfile.TemporaryDirectory(prefix="nopfix-package.") as folder:
                    said = attempt(python, made, extra, Path(folder))
                print(f"ok: {said} [{extra}]", flush=True)
        if not parsed.wheel_only:
            print(distributions.debian(ROOT, made.parent), flush=True)
            print(distributions.fedora(ROOT), flush=True)
    except Failed as failed:
        print(f"failed: {failed}")
        return 1
    return 0


def build(folder: Path) -> Path:
    """The wheel, made of the source package, which is made of a copy of the checkout."""
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="nopfix-sdist.") as scratch:
        copy = Path(scratch) / "nopfix"
        distributions.copy_sources(ROOT, copy)
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder)]
        subprocess.run(command, cwd=copy, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = folder.glob("*.whl")
    (source,) = folder.glob("*.tar.gz")
    print(f"built: {source.name}, {wheel.name}", flush=True)
    return wheel


def attempt(python: str, wheel: Path, extra: str, folder: Path) -> str:
    """Install the wheel with one extra below ``folder`` and try it; returns what it was tried with.

    Raises `Failed`.
    """
    environment = folder / "environment"
    subprocess.run([python, "-m", "venv", environment], check=True)
    own = environment / "bin"
    wanted = f"{wheel}[{extra}]" if extra else str(wheel)
    subprocess.run([own / "pip", "install", "--quiet", wanted], check=True)
    place = folder / "empty"
    place.mkdir()
    shutil.copy(SAMPLE, place / "in.o")
    tried = Tried(place, str(own))
    tried.shared(environment)
    tried.main_job()
    tried.compilers()
    tried.verifier()
    tried.corpus(has_it=extra in CORPUS)
    tried.packed(has_it=extra in {"zstd", "all"} or tried.version() >= (3, 14))
    return "Python " + ".".join(map(str, tried.version()))


class Tried:
    """The commands of ``folder``, run in ``place``."""

    def __init__(self, place: Path, folder: str) -> None:
        """Keep both."""
        self.place = place
        self.folder = folder
        self.path = f"{folder}:{os.environ['PATH']}"

    def run(self, *words: str, status: int = 0, **environment: str) -> str:
        """What a command says on both streams.  Raises `Failed` for another exit status."""
        done = subprocess.run(
            [str(Path(self.folder, words[0])), *words[1:]],
            cwd=self.place,
            env={"PATH": self.path, "HOME": str(self.place), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != status:
            raise Failed(f"{' '.join(words)}: exit status {done.returncode}: {done.stdout}")
        return done.stdout

    def version(self) -> tuple[int, ...]:
        """The version of Python."""
        found = re.search(r"Python ([\d.]+)", self.run("nopfix", "--version"))
        assert found
        return tuple(map(int, found[1].split(".")))

    def shared(self, environment: Path) -> None:
        """Manual pages and completions lie where they are looked for."""
        for name in PROJECT["scripts"]:
            page = environment / "share" / "man" / "man1" / f"{name}.1"
            bash = environment / "share" / "bash-completion" / "completions" / name
            for path in (page, bash):
                if not path.is_file():
                    raise Failed(f"{path} isn't there")
            self.run(name, "--help", NOPFIX_CC="true")
        if not (environment / "share" / "zsh" / "site-functions" / "_nopfix").is_file():
            raise Failed("the completion for zsh isn't there")

    def main_job(self) -> None:
        """Nopfix, from a file to a file, many at once."""
        self.run("nopfix", "in.o", "out.o")
        if (self.place / "out.o").read_bytes() == SAMPLE.read_bytes():
            raise Failed("nopfix: nothing was inserted")
        for name in ("a.o", "b.o"):
            shutil.copy(SAMPLE, self.place / name)
        said = self.run("nopfix", "--in-place", "-j2", "a.o", "b.o")
        if "2 files: 2 rewritten" not in said:
            raise Failed(f"nopfix --in-place: {said}")

    def compilers(self) -> None:
        """The wrapper under its four names, and a build beside the server."""
        if shutil.which(CROSS + "gcc") is None:
            return
        self.run("nopfix-toolchain", "tools", "--for", CROSS)
        (self.place / "f.c").write_text("int g(int); int f(int x) { return g(x) + 1; }\n")
        compilers = {
            ("nopfix-cc", CROSS + "gcc"): "",
            ("nopfix-gcc",): CROSS + "gcc",
            ("nopfix-clang",): "clang-19 --target=powerpc64le-linux-gnu",
            ("nopfix-serve", str(self.place / "tools" / "nopfix-gcc")): "",
        }
        for command, compiler in compilers.items():
            if compiler and shutil.which(compiler.split()[0]) is None:
                continue
            (self.place / "f.o").unlink(missing_ok=True)
            self.run(*command, "-O2", "-c", "f.c", NOPFIX_CC=compiler)
            said = self.run("nopfix", "--list", "f.o")
            if "has slot" not in said or "insert" in said:
                raise Failed(f"{command[0]}: {said}")

    def verifier(self) -> None:
        """The second opinion."""
        self.run("nopfix-verify", "in.o", "out.o")
        self.run("nopfix", "--verify", "in.o", "checked.o")
        self.run("nopfix-verify", "in.o", "in.o")
        self.run("nopfix-verify", "--slots", "in.o", "in.o", status=1)

    def corpus(self, *, has_it: bool) -> None:
        """The runs' tool, or the line that says which extra brings what it lacks."""
        words = ("nopfix-corpus", "report", "--db", "none.db", "--html", "page.html")
        said = self.run(*words, status=0 if has_it else 2)
        if has_it and not (self.place / "page.html").is_file():
            raise Failed(f"{' '.join(words)}: no page")
        if not has_it and ("pip install 'nopfix[corpus]'" not in said or said.count("\n") != 1):
            raise Failed(f"{' '.join(words)}: {said}")

    def packed(self, *, has_it: bool) -> None:
        """Compressed files; zstd's library comes with an extra."""
        for ending in ("xz", "gz", "zst"):
            status = 0 if has_it or ending != "zst" else 1
            said = self.run("nopfix", "in.o", f"out.ko.{ending}", status=status)
            if status and "pip install 'nopfix[zstd]'" not in said:
                raise Failed(f"nopfix out.ko.{ending}: {said}")


if __name__ == "__main__":
    sys.exit(main())
