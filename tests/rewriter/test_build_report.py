"""One report over a build, by the wrapper alone and under nopfix-serve."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from nopfix.rewriter.build import build_report, objects_in_place, toolchain
from nopfix.rewriter.kpatch import sibling_calls

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs" / "build-report.schema.json").read_text())
SAMPLES = ROOT / "samples"
GCC = shutil.which("powerpc64le-linux-gnu-gcc")
SERVE = "import sys; from nopfix.rewriter.build.server import main; sys.exit(main())"
#: Copies an object to where it is asked for, as a compiler would make it.
COMPILER = '#!/bin/sh\ncp "$OBJECT" "$4"\n'


@pytest.fixture
def wrapper(tmp_path: Path) -> Path:
    """The command that stands for the compiler, in a folder of its own."""
    real = tmp_path / "real"
    real.mkdir()
    (real / "gcc").write_text(COMPILER)
    (real / "gcc").chmod(0o755)
    toolchain.make(str(tmp_path / "tools"), "", "", [str(real)], in_c=False)
    return tmp_path / "tools" / "gcc"


@pytest.fixture
def build(wrapper: Path, tmp_path: Path) -> Path:
    """A script that compiles two good objects, one of another machine and one that is damaged."""
    (tmp_path / "other.o").write_bytes(Path(sys.executable).read_bytes()[:64])
    damaged = bytearray((SAMPLES / "dispatch.o").read_bytes())
    damaged[40:48] = (1 << 40).to_bytes(8, "little")
    (tmp_path / "damaged.o").write_bytes(damaged)
    script = tmp_path / "build"
    lines = ["#!/bin/sh", "mkdir -p out", "cd out"]
    for name, source in (
        ("a", SAMPLES / "recursion.o"), ("b", SAMPLES / "dispatch.o"),
        ("c", tmp_path / "other.o"), ("d", tmp_path / "damaged.o"),
    ):  # fmt: skip
        lines.append(f"OBJECT={source} {wrapper} -c {name}.c -o {name}.o 2>&1")
    script.write_text("\n".join([*lines, "exit 5"]) + "\n")
    script.chmod(0o755)
    return script


def run(tmp_path: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | more
    return subprocess.run(
        arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )


def serve(tmp_path: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return run(tmp_path, sys.executable, "-c", SERVE, *arguments, **more)


def checked(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_text())
    jsonschema.Draft202012Validator(SCHEMA).validate(report)
    return report


def test_a_build_is_reported_with_its_status_and_a_page(build: Path, tmp_path: Path) -> None:
    done = serve(tmp_path, "--report", "report.json", str(build))
    assert done.returncode == 5
    report = checked(tmp_path / "report.json")
    verdicts = {Path(one["object"]).name: one["verdict"] for one in report["objects"]}
    assert verdicts == {
        "a.o": "rewritten", "b.o": "rewritten", "c.o": "left out", "d.o": "refused",
    }  # fmt: skip
    assert report["verdicts"] == {
        "rewritten": 2, "unchanged": 0, "left out": 1, "refused": 1, "failed": 0,
    }  # fmt: skip
    (refused,) = (one for one in report["objects"] if one["verdict"] == "refused")
    assert refused["message"] in done.stdout
    page = done.stderr.splitlines()
    assert page[0].startswith("nopfix: 4 objects: 2 rewritten, 1 left out, 1 refused; ")
    assert f"{report['slots']} slots" in page[0]
    assert any(refused["message"] in line for line in page)
    assert f"{tmp_path}/report.json" in page[-1]


def test_without_a_server_the_folder_is_kept_and_a_report_made_of_it_later(
    build: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    assert run(tmp_path, str(build), NOPFIX_REPORT=str(folder)).returncode == 5
    again = run(tmp_path, str(build), NOPFIX_REPORT=str(folder))
    assert again.stderr == ""
    done = serve(tmp_path, "--report", "later.json", NOPFIX_REPORT=str(folder))
    assert done.returncode == 0
    both = serve(tmp_path, "--report", "served.json", str(build))
    assert both.returncode == 5
    later, served = (checked(tmp_path / name) for name in ("later.json", "served.json"))
    for report in (later, served):
        report.pop("seconds")
        for one in report["objects"]:
            one.pop("seconds")
    assert later == served


def test_a_report_says_what_was_left_and_which_sibling_calls_there_are(tmp_path: Path) -> None:
    outcome = objects_in_place.Outcome(0, "rewritten", 3, ["warning: x"], ["f.c:1: sibling call"])
    build_report.add(str(tmp_path), "/k/f.o", outcome, "", 0.25)
    (tmp_path / "g.o").touch()
    for name in ("g.o", "gone.o"):
        unchanged = objects_in_place.Outcome(0, "unchanged")
        build_report.add(str(tmp_path), str(tmp_path / name), unchanged, "", 0.25)
    lines = build_report.write(str(tmp_path), str(tmp_path / "r.json"))
    report = checked(tmp_path / "r.json")
    totals = {name: report[name] for name in ("slots", "left", "sibling_calls", "seconds")}
    assert totals == {"slots": 3, "left": 1, "sibling_calls": 1, "seconds": 0.5}
    assert report["verdicts"]["unchanged"] == 1
    assert "  /k/f.o: warning: x" in lines
    assert "  f.c:1: sibling call" in lines


def test_sibling_calls_are_reported_though_nobody_warns_of_them(tmp_path: Path) -> None:
    if GCC is None:
        pytest.skip("needs powerpc64le-linux-gnu-gcc")
    path = tmp_path / "f.o"
    source = b"""static __attribute__((noinline)) int g(int x) { __asm__(""); return x; }
        int f(int x) { return g(x + 1); }"""
    subprocess.run([GCC, "-O2", "-xc", "-c", "-", "-o", path], input=source, check=True)
    said: list[str] = []
    settings = {"NOPFIX_REPORT": str(tmp_path / "r")}
    assert objects_in_place.rewrite(str(path), environment=settings, say=said.append) == 0
    (one,) = build_report.read(str(tmp_path / "r"))
    assert list(one.sibling_calls) == sibling_calls.describe(path.read_bytes()) != []
    assert said == []


def test_a_report_that_cant_be_kept_fails_no_build(tmp_path: Path) -> None:
    path = tmp_path / "recursion.o"
    path.write_bytes((SAMPLES / "recursion.o").read_bytes())
    said: list[str] = []
    settings = {"NOPFIX_REPORT": str(path / "x")}
    assert objects_in_place.rewrite(str(path), environment=settings, say=said.append) == 0
    assert len(said) == 1
    assert said[0].startswith("$NOPFIX_REPORT: ")


@pytest.mark.parametrize(
    ("arguments", "status"), [(["--report"], 2), (["--report", "x"], 2), ([], 2), (["-h"], 0)]
)
def test_usage(arguments: list[str], status: int, tmp_path: Path) -> None:
    assert serve(tmp_path, *arguments, NOPFIX_REPORT="").returncode == status


def test_a_report_that_cant_be_written_is_an_error_of_its_own(tmp_path: Path) -> None:
    done = serve(tmp_path, "--report", "no/such/folder", "true")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    (tmp_path / "objects.jsonl").write_text("{}\n")
    damaged = serve(tmp_path, "--report", "x", NOPFIX_REPORT=str(tmp_path))
    assert damaged.returncode == 3
    assert "objects.jsonl:1: not a line of a report" in damaged.stderr
