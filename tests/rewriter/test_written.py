"""The JSON that is written down has the form that docs/output.schema.json says."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import get_args

import jsonschema
import pytest

from nopfix.rewriter import command
from nopfix.rewriter.layout import calls

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs" / "output.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
NAMES = ("dispatch.o", "recursion.o", "cleanup.o")


@pytest.fixture(params=[*NAMES, "all.a"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A sample, or all of them as an archive."""
    if request.param in NAMES:
        return ROOT / "samples" / str(request.param)
    if (ar := shutil.which("powerpc64le-linux-gnu-ar")) is None:
        pytest.skip("needs powerpc64le-linux-gnu-ar")
    subprocess.run([ar, "rcs", tmp_path / "all.a", *NAMES], cwd=ROOT / "samples", check=True)
    return tmp_path / "all.a"


def test_a_report_has_the_schemas_form(path: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    assert command.main(["--report", str(report), str(path), str(tmp_path / "out")]) == 0
    document = json.loads(report.read_text())
    VALIDATOR.validate(document)
    for one in document.get("members", [document]):
        assert one["insertions"]
        one["insertions"][0]["old_offset"] = "0x10"
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(document)


@pytest.mark.parametrize("options", [("--list",), ("--explain",), ("--list", "--explain")])
def test_a_listing_has_the_schemas_form(
    path: Path, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([*options, "--json", str(path)]) == 0
    document = json.loads(capsys.readouterr().out)
    VALIDATOR.validate(document)
    kinds = {"--list": "calls", "--explain": "branches"}
    for one in document.get("members", [document]):
        assert {kinds[option] for option in options} <= one.keys()
        one["calls" if "calls" in one else "branches"] = [{}]
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(document)


def test_the_schema_is_one_and_has_every_action() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    call = SCHEMA["$defs"]["listing"]["properties"]["calls"]["items"]
    assert set(call["properties"]["action"]["enum"]) == set(get_args(calls.Action))
