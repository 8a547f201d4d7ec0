"""Gather the papers for mkdocs: ``make docs``.

README and its like stand at the top of the sources, the others beside this file, and their links
go to and fro.  A site wants all in one folder, so they are copied into one, links following;
pictures and the schema come along.  mkdocs, told to be strict, then fails for a link or
an anchor that leads nowhere.  (Not with --quiet: what isn't said isn't counted either.)
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent

CONFIGURATION = """\
site_name: nopfix
docs_dir: pages
site_dir: ../site
use_directory_urls: false
theme:
  name: readthedocs
  highlightjs: false
plugins: []
markdown_extensions: [tables, fenced_code, toc]
validation:
  nav: {omitted_files: warn, not_found: warn, absolute_links: warn}
  links: {not_found: warn, anchors: warn, absolute_links: warn, unrecognized_links: warn}
nav:
"""

NAV = {
    "index.md": "nopfix",
    "kernel.md": "Live patches and kernels",
    "performance.md": "What it costs",
    "library.md": "As a library",
    "verifier.md": "What nopfix-verify proves",
    "architecture.md": "How it is built",
    "alignment.md": "Alignment",
    "hazards.md": "Hazards",
    "proofs.md": "How far the tests hold the proofs",
    "hunt.md": "What was tried",
    "corpus.md": "Regression runs",
    "kpatch-upstream.md": "For kpatch's developers",
    "klp-build.md": "klp-build on ppc64le",
    "CONTRIBUTING.md": "Contributing",
    "CHANGELOG.md": "Changes",
    "SECURITY.md": "Security",
    "releasing.md": "Releases",
    "LICENSE.md": "Licence",
}
"""The pages in their order."""

LINK = re.compile(r"(\]\()((?:\.\./|docs/)?)([^)#:]+)((?:#[^)]*)?\))")


def main(folder: Path) -> None:
    """Fill ``folder`` with what mkdocs takes."""
    shutil.rmtree(folder, ignore_errors=True)
    pages = folder / "pages"
    shutil.copytree(HERE, pages, ignore=shutil.ignore_patterns("*.py", "man", "completions", "__*"))
    for path in (*ROOT.glob("*.md"), *HERE.glob("*.md")):
        (pages / renamed(path.name)).write_text(LINK.sub(followed, path.read_text()))
    (pages / "LICENSE.md").write_text((ROOT / "LICENSE").read_text())
    nav = "".join(f"  - {title}: {name}\n" for name, title in NAV.items())
    (folder / "mkdocs.yml").write_text(CONFIGURATION + nav)


def renamed(name: str) -> str:
    """What a page is called in the site."""
    return {"README.md": "index.md", "LICENSE": "LICENSE.md"}.get(name, name)


def followed(link: re.Match[str]) -> str:
    """A link between two papers, which now lie in one folder."""
    return f"{link[1]}{renamed(link[3])}{link[4]}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
