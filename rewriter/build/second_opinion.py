"""Ask nopfix-verify before a result is put in place.

It is another program, which shares no code with this one.
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.errors import Refusal

if TYPE_CHECKING:
    from nopfix.rewriter.options import Result


def ask(data: bytes, result: Result) -> None:
    """Raise `Refusal` unless nopfix-verify agrees that ``result`` is ``data`` plus nops.

    ``data`` is the object before.  Mistakes of nopfix-verify's own are raised.
    """
    from nopfix.verifier import Unreadable, verify

    try:
        report = verify(data, result.data)
    except Unreadable as error:
        raise Refusal(
            f"nopfix-verify can't judge the result: {error}",
            remedy="report it with the object, which is as it was",
        ) from error
    if not report.verified:
        raise Refusal(
            f"nopfix-verify does not agree with the result: {report.differences[0]}",
            remedy="report it with the object, which is as it was",
        )
