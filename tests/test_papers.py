"""What the papers say of files, make targets and versions holds."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nopfix
from tests.package import distributions

ROOT = Path(__file__).parents[1]
PAPERS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_to_one(paper: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", paper.read_text())
    assert [link for link in links if not (paper.parent / link).exists()] == []


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.name)
def test_every_make_target_that_is_named_is_there(paper: Path) -> None:
    text = paper.read_text()
    named = re.findall(r"`make ([a-z][a-z-]*)", text) + re.findall(
        r"^ {4}make ([a-z][a-z-]*)", text, re.M
    )
    assert set(named) <= TARGETS


def test_make_help_lists_every_target_for_people() -> None:
    listed = set(re.findall(r"^# make ([a-z-]+)", MAKEFILE, re.MULTILINE))
    assert listed == TARGETS - {"tools"}
    done = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {line.split()[1] for line in done.stdout.splitlines()} == listed


def test_the_version_is_the_newest_of_the_change_log() -> None:
    versions = re.findall(r"^## \[([^]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[:2] == ["Unreleased", nopfix.__version__]
    command = [sys.executable, "-m", "nopfix.rewriter", "--version"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"nopfix {nopfix.__version__} (Python 3.")


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=n", "-c", "user.email=e", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else ""


def test_every_release_tag_stands_at_the_version_that_it_names() -> None:
    tags = git(ROOT, "tag", "--list", "v[0-9]*").split()
    own = [git(ROOT, "show", f"{tag}:nopfix/__init__.py") for tag in tags]
    assert [tag for tag, text in zip(tags, own, strict=True) if f'"{tag[1:]}"' not in text] == []


@pytest.mark.parametrize(
    ("section", "change", "says"),
    [
        ("[0.3.0] - 2027-01-01", "", ""),
        ("[Unreleased]", "", "CHANGELOG.md has no section for 0.3.0"),
        ("[0.3.0] - 2027-01-01", "x = 1\n", "what isn't committed has no part in a release"),
    ],
)
def test_a_tag_is_the_version_of_the_sources(
    tmp_path: Path, section: str, change: str, says: str
) -> None:
    source = tmp_path / "nopfix" / "__init__.py"
    source.parent.mkdir()
    source.write_text('__version__ = "0.3.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## {section}\n")
    (tmp_path / "Makefile").write_text(MAKEFILE)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    source.write_text(source.read_text() + change)
    done = subprocess.run(
        ["make", "tag", "SIGN=--no-sign", f"PYTHON={sys.executable}"],
        cwd=tmp_path,
        env=os.environ | {"GIT_COMMITTER_NAME": "n", "GIT_COMMITTER_EMAIL": "e"},
        capture_output=True,
        text=True,
    )
    assert says in done.stderr
    assert git(tmp_path, "tag", "--list").split() == ([] if says else ["v0.3.0"])


def test_distributions_packages_have_the_same_version() -> None:
    changelog = (ROOT / "debian" / "changelog").read_text()
    assert changelog.startswith(f"nopfix ({nopfix.__version__}) ")
    spec = (ROOT / "nopfix.spec").read_text()
    assert re.findall(r"^Version: +(\S+)$", spec, re.MULTILINE) == [nopfix.__version__]


def test_the_spec_file_is_read_and_rpmlint_finds_nothing() -> None:
    if lacking := distributions.missing("rpmspec", "rpmlint"):
        pytest.skip(f"needs {', '.join(lacking)}")
    assert distributions.fedora(ROOT).startswith("ok: ")


def site(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build what `make docs` has gathered, as it does."""
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "-f",
        folder / "docs/mkdocs.yml",
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture
def gathered(tmp_path: Path) -> Path:
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("needs mkdocs")
    subprocess.run([sys.executable, "docs/site.py", tmp_path / "docs"], cwd=ROOT, check=True)
    return tmp_path


def test_the_site_has_every_page_and_its_links_lead_somewhere(gathered: Path) -> None:
    done = site(gathered)
    assert done.returncode == 0, done.stderr
    made = {path.stem for path in (gathered / "site").glob("*.html")}
    assert {paper.stem for paper in PAPERS} - {"README"} <= made


@pytest.mark.parametrize("link", ["[a](nowhere.md)", "[a](kernel.md#nowhere)", "![a](nowhere.png)"])
def test_no_site_is_made_where_a_link_leads_nowhere(gathered: Path, link: str) -> None:
    page = gathered / "docs" / "pages" / "alignment.md"
    page.write_text(f"{page.read_text()}\n{link}\n")
    done = site(gathered)
    assert done.returncode != 0
    assert "nowhere" in done.stderr
