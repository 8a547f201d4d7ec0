"""Ask nopfix-verify before a result is put in place.

It is another program, which shares no code with this one.
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.errors import Refusal

if TYPE_CHECKING:
    from nopfix.rewriter.options import Options, Result


def ask(data: bytes, options: Options, result: Result) -> None:
    """Raise `Refusal` unless nopfix-verify agrees that ``result`` is ``data`` plus nops.

    ``data`` is the object before, ``options`` are those of the rewrite.  Mistakes of
    nopfix-verify's own are raised.
    """
    from nopfix.verifier import Unreadable, verify

    try:
        report = verify(data, result.data, dwo=_split(options, result))
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


def _split(options: Options, result: Result) -> tuple[bytes, bytes] | None:
    """The .dwo file of the object, before and after.

    Where there are several (``ld -r``) nopfix-verify looks at none of them.
    """
    if len(options.dwo) != 1:
        return None
    ((name, before),) = options.dwo.items()
    return before, result.dwo.get(name, before)
