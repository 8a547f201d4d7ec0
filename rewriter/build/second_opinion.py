"""Ask nopfix-verify before a result is put in place.

It is another program, which shares no code with this one, and may not be installed.
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.errors import Refusal

if TYPE_CHECKING:
    from nopfix.rewriter.options import Result

_LIBRARIES = ("elftools", "capstone")


def ask(data: bytes, result: Result, asked: str) -> None:
    """Raise `Refusal` unless nopfix-verify can be asked about ``result`` and agrees.

    ``data`` is the object before, ``asked`` the option or variable by which the user asked for
    this.  Mistakes of nopfix-verify's own are raised.
    """
    try:
        from nopfix.verifier import Unreadable, verify

        report = verify(data, result.data)
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in _LIBRARIES:
            raise
        raise Refusal(
            f"can't be verified: there is no module {library}",
            remedy=f"pip install 'nopfix[verify]', or leave {asked} out",
        ) from error
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
