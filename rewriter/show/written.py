"""What ``--report`` writes down and ``--json`` prints; docs/output.schema.json has the form."""

from __future__ import annotations

from nopfix import __version__
from nopfix.dwarf.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nopfix.rewriter.options import Report


def text(files: tuple[str, str | None], fields: Mapping[str, object]) -> str:
    """The document about IN and OUT (None: nothing was written), with a line feed at its end."""
    import json

    heading: dict[str, object] = {"version": __version__, "input": files[0]}
    if files[1] is not None:
        heading["output"] = files[1]
    return json.dumps({**heading, **fields}, indent=1) + "\n"


def report(report: Report) -> dict[str, object]:
    """The report of one object for `text`."""
    return {
        "old_size": report.old_size,
        "new_size": report.new_size,
        "insertions": [insertion._asdict() for insertion in report.insertions],
        "tables": [table._asdict() for table in report.tables],
        "expanded_branches": [
            {"section": section, "old_offset": offset} for section, offset in report.expanded
        ],
        "sections": [resized._asdict() for resized in report.resized],
        "left": [left._asdict() for left in report.left],
    }
