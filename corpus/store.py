"""The results of regression runs: one SQLite file, one row per case.

Rows are written as they come and committed in batches, so a run that is stopped loses at most the
last batch and goes on where it was.  The primary key is the digest of everything that the result
depends on (`corpus.case.key`): the same case with the same nopfix is one row, whoever ran it.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING, get_type_hints

from nopfix.corpus.case import Result
from nopfix.corpus.matrix import LeftOut

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_TYPES = {str: "TEXT", int: "INTEGER", float: "REAL"}
_COLUMNS = ", ".join(
    f"{name} {_TYPES[kind]} NOT NULL" for name, kind in get_type_hints(Result).items()
)
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS results ({_COLUMNS},
    finished TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (key));
CREATE INDEX IF NOT EXISTS by_case ON results (corpus, source, compiler, flags);
CREATE TABLE IF NOT EXISTS left_out (compiler TEXT, flags TEXT, message TEXT);
CREATE TABLE IF NOT EXISTS runs (begun TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, arguments TEXT);
"""


class Store:
    """An open results file.  Only one process writes to it."""

    def __init__(self, path: Path) -> None:
        """Open the file at `path`, making it if needed."""
        self._connection = sqlite3.connect(path)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(_SCHEMA)
        self._add_missing_columns()

    def _add_missing_columns(self) -> None:
        """Bring a file of an older nopfix-corpus up to date: fields added since have defaults."""
        present = {row[1] for row in self._connection.execute("PRAGMA table_info(results)")}
        with self._connection:
            for name, default in Result._field_defaults.items():
                if name not in present:
                    kind = _TYPES[type(default)]
                    self._connection.execute(
                        f"ALTER TABLE results ADD COLUMN {name} {kind} NOT NULL DEFAULT {default!r}"
                    )

    def keys(self) -> set[str]:
        """Return the keys of all the cases that have a result."""
        return {key for (key,) in self._connection.execute("SELECT key FROM results")}

    def add(self, results: Iterable[Result]) -> None:
        """Write results and commit; a case that is there already keeps the newer result."""
        marks = ", ".join("?" * len(Result._fields))
        names = ", ".join(Result._fields)
        with self._connection:
            self._connection.executemany(
                f"INSERT OR REPLACE INTO results ({names}) VALUES ({marks})", results
            )

    def results(self, nopfix: str = "") -> list[Result]:
        """Return the newest result of each case (corpus, source, compiler, flags), or those of one
        version of nopfix.
        """
        names = ", ".join(Result._fields)
        where = "WHERE nopfix = ?" if nopfix else ""
        rows = self._connection.execute(
            f"SELECT {names} FROM results {where} ORDER BY finished, rowid",
            (nopfix,) if nopfix else (),
        )
        newest: dict[tuple[str, ...], Result] = {}
        for row in rows:
            result = Result(*row)
            newest[result.identity()] = result
        return list(newest.values())

    def leave_out(self, compilers: Iterable[str], left_out: Iterable[LeftOut]) -> None:
        """Note the option lists that the compilers of a run don't take, in place of older notes."""
        with self._connection:
            self._connection.executemany(
                "DELETE FROM left_out WHERE compiler = ?", [(name,) for name in compilers]
            )
            self._connection.executemany("INSERT INTO left_out VALUES (?, ?, ?)", left_out)

    def left_out(self) -> list[LeftOut]:
        """Return the option lists that compilers didn't take."""
        rows = self._connection.execute("SELECT compiler, flags, message FROM left_out")
        return [LeftOut(*row) for row in rows]

    def remember(self, arguments: dict[str, object]) -> None:
        """Note the arguments of a run, for `arguments`."""
        with self._connection:
            text = json.dumps(arguments, sort_keys=True)
            self._connection.execute("INSERT INTO runs (arguments) VALUES (?)", (text,))

    def arguments(self) -> dict[str, object] | None:
        """Return the arguments of the last run, None when there was none."""
        row = self._connection.execute(
            "SELECT arguments FROM runs ORDER BY rowid DESC LIMIT 1"
        ).fetchone()
        return None if row is None else dict(json.loads(row[0]))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Store]:
    """Open a results file for a ``with`` block."""
    store = Store(path)
    try:
        yield store
    finally:
        store.close()
