"""Packages of any Debian release and architecture, fetched by apt without touching this system's.

apt gets folders of its own for each release and architecture, in the cache folder, so nothing is
installed and this system's lists stay as they are.  The release file's signature is checked with
Debian's keyring, and with it the sums of all that is fetched.  The mirror is the one that this
system's apt is set to, and its other settings (a proxy) hold as well.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

#: Debian's keys, as the package debian-archive-keyring has them.
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_SOURCES = ("/etc/apt/sources.list", "/etc/apt/sources.list.d")
#: A list that can't be fetched is an error, and not only a warning.
STRICT = ("-o", "APT::Update::Error-Mode=any")
#: apt's own words for a release file that is genuine and out of date.
_EXPIRED = re.compile(r"expired|Valid-Until|is not valid yet", re.IGNORECASE)


class AptError(Exception):
    """A package can't be had; the text says why and what helps."""


class Release(NamedTuple):
    """A release of Debian: which one, for which architecture, from which mirror."""

    suite: str
    architecture: str
    mirror: str


def mirror() -> str:
    """Return the mirror that this system's apt takes Debian from.  Raises AptError."""
    files = [Path(_SOURCES[0]), *sorted(Path(_SOURCES[1]).glob("*"))]
    for file in files:
        if file.is_file() and file.suffix in (".list", ".sources"):
            for uri in re.findall(
                r"^(?:URIs:\s*|deb\s+(?:\[[^\]]*\]\s*)?)(\S+)",
                file.read_text("utf-8"),
                re.MULTILINE,
            ):
                if uri.rstrip("/").endswith("/debian"):
                    return str(uri).rstrip("/")
    raise AptError("this system's apt names no mirror of Debian; say which one with --mirror")


def own_suite() -> str:
    """Return this system's release by its code name.  Raises AptError."""
    text = Path("/etc/os-release").read_text("utf-8")
    found = re.search(r"^VERSION_CODENAME=\"?(\w+)", text, re.MULTILINE)
    if found is None or "debian" not in text.lower():
        raise AptError("this system is no Debian: name the release, as in PACKAGE@sid")
    return found.group(1)


def need(*programs: str) -> None:
    """Raise AptError unless all of `programs` are installed, and Debian's keyring with them."""
    for program in programs:
        if shutil.which(program) is None:
            raise AptError(f"{program}: not installed")
    if not KEYRING.exists():
        raise AptError(f"{KEYRING}: not there; install debian-archive-keyring")


def unpacked(package: str, suite: str = "", architecture: str = "ppc64el") -> Path:
    """Return the folder with a package's files, fetched and unpacked when that hasn't been done.

    `suite` is a release, "" this system's own.  A package that is there already isn't asked for
    again: delete its folder below the cache folder's ``debian`` to have a newer one.

    Raises AptError.
    """
    from nopfix.corpus import sources

    need("apt-get", "dpkg-deb")
    known = Release(suite or own_suite(), "amd64" if architecture == "all" else architecture, "")
    place = sources.cache_folder() / "debian" / f"{known.suite}-{known.architecture}"
    place.mkdir(parents=True, exist_ok=True)
    folder = place / "packages" / package
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _fetch(known._replace(mirror=mirror()), package, place, folder)
    return folder


def _fetch(release: Release, package: str, place: Path, folder: Path) -> None:
    """Fetch a package and unpack it at `folder`, whole or not at all.  Raises AptError."""
    configuration = _configuration(release, place)
    if not any((place / "lists").glob("*_Packages*")):
        _update(release, configuration)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as name:
        said = _apt(configuration, ["download", package], Path(name))
        if said:
            _update(release, configuration)
            said = _apt(configuration, ["download", package], Path(name))
        found = list(Path(name).glob("*.deb"))
        if said or not found:
            raise AptError(f"{package}@{release.suite} ({release.architecture}): {said}")
        contents = Path(name, "contents")
        _dpkg_deb("-x", str(found[0]), str(contents))
        _note(folder).write_text(_dpkg_deb("-f", str(found[0]), "Depends"), "utf-8")
        contents.rename(folder)


def _dpkg_deb(*words: str) -> str:
    done = subprocess.run(["dpkg-deb", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AptError(f"dpkg-deb {words[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def _note(folder: Path) -> Path:
    """Return where beside an unpacked package is kept what it depends on."""
    return folder.with_name(f"{folder.name}.depends")


def depends(folder: Path) -> str:
    """Return what an unpacked package depends on, as its control file says it."""
    note = _note(folder)
    return note.read_text("utf-8") if note.exists() else ""


def _configuration(release: Release, place: Path) -> Path:
    """Write what makes apt use `place` alone; return the file."""
    for name in ("lists/partial", "archives/partial", "etc"):
        (place / name).mkdir(parents=True, exist_ok=True)
    (place / "status").touch()
    (place / "etc/sources.list").write_text(
        f"deb [signed-by={KEYRING}] {release.mirror} {release.suite} main\n", "utf-8"
    )
    (place / "etc/empty").mkdir(exist_ok=True)
    options = {
        "APT::Architecture": release.architecture,
        "APT::Architectures": release.architecture,
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Dir::Cache::archives": f"{place}/archives",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Dir::Etc::sourcelist": f"{place}/etc/sources.list",
        "Dir::Etc::sourceparts": f"{place}/etc/empty",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": f"{place}/etc/empty",
        "Dir::State": str(place),
        "Dir::State::lists": f"{place}/lists",
        "Dir::State::status": f"{place}/status",
    }
    file = place / "etc/apt.conf"
    file.write_text("".join(f'{name} "{value}";\n' for name, value in options.items()), "utf-8")
    return file


def _update(release: Release, configuration: Path) -> None:
    """Fetch the release's lists.  Raises AptError."""
    said = _apt(configuration, ["update"], configuration.parent)
    if said:
        raise AptError(f"{release.suite} from {release.mirror}: {explained(said)}")


def _apt(configuration: Path, words: list[str], folder: Path) -> str:
    """Run apt-get; return its first complaint, "" when there is none."""
    done = subprocess.run(
        ["apt-get", "-qq", *STRICT, *words], cwd=folder, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
        env=os.environ | {"APT_CONFIG": str(configuration), "LC_ALL": "C"},
    )  # fmt: skip
    errors = [line[2:].strip() for line in done.stderr.splitlines() if line.startswith("E:")]
    if done.returncode or errors:
        return errors[0] if errors else f"apt-get {words[0]} ended with status {done.returncode}"
    return ""


def explained(said: str) -> str:
    """Return what apt said, with what helps where that is known."""
    if _EXPIRED.search(said):
        return f"{said} (a mirror that stands still: Acquire::Check-Valid-Until in apt's settings)"
    return said
