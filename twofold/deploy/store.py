"""A database of states: a file of SQLite, in which states and notes change together or not at all."""

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError

FORMAT = 1
AT_ONCE = 512
"""So many keys are asked for in one query."""

Key = str | int


class Store:
    """The states of keys, and notes, in a database of SQLite.

    Nothing is durable until `commit`. After a kill at any moment, the database is as it was at the last `commit`. One process
    at a time can use a store. Others can read it meanwhile, with any program for SQLite. The table `states` has the columns
    `key` (as JSON) and `state`. The table `notes` has `name` and `value` (as JSON).
    """

    def __init__(self, path: Path | str | None = None):
        """Open the store in the file `path`, or make it. Without a path, the store is a temporary file that nobody else sees.

        **Raises:** `InputError` if the file is no store, or if another process uses it, or if it cannot be opened.
        """
        self.path = path
        with self._told():
            # Transactions begin and end where this class says. A stream and its lock may be shared by threads.
            self._base = sqlite3.connect(
                "" if path is None else path, timeout=0, isolation_level=None, check_same_thread=False
            )
            try:
                self._open()
            except BaseException:
                self._base.close()
                raise

    def _open(self) -> None:
        if self.path is not None:
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = NORMAL")
        self._base.execute("BEGIN IMMEDIATE")
        (found,) = self._base.execute("PRAGMA user_version").fetchone()
        tables = [name for (name,) in self._base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        if not tables:
            self._base.execute("CREATE TABLE states (key TEXT PRIMARY KEY, state BLOB NOT NULL)")
            self._base.execute("CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
            self._base.execute(f"PRAGMA user_version = {FORMAT}")
            self.commit()
        elif found != FORMAT or not {"states", "notes"} <= set(tables):
            raise InputError(f"{self.path} is a database, but not one that this version of twofold has made")

    def read(self, keys: Sequence[Key]) -> dict[Key, bytes]:
        """The states of these keys. Keys that the store does not have are left out."""
        found: dict[Key, bytes] = {}
        for start in range(0, len(keys), AT_ONCE):
            names = [json.dumps(key) for key in keys[start : start + AT_ONCE]]
            places = ", ".join("?" * len(names))
            with self._told():
                rows = self._base.execute(f"SELECT key, state FROM states WHERE key IN ({places})", names)
                found.update((json.loads(name), state) for name, state in rows)
        return found

    def items(self) -> Iterator[list[tuple[Key, bytes]]]:
        """All keys and their states, some at a time, in the order of the keys. The store may be written meanwhile."""
        last = ""
        while True:
            with self._told():
                rows = self._base.execute(
                    "SELECT key, state FROM states WHERE key > ? ORDER BY key LIMIT ?", (last, AT_ONCE)
                ).fetchall()
            if not rows:
                return
            yield [(json.loads(name), state) for name, state in rows]
            last = rows[-1][0]

    def write(self, states: Iterable[tuple[Key, bytes]]) -> None:
        """Replace the states of these keys."""
        with self._told():
            self._base.executemany(
                "INSERT INTO states VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET state = excluded.state",
                ((json.dumps(key), state) for key, state in states),
            )

    def remove(self, keys: Iterable[Key] | None = None) -> None:
        """Forget these keys, or all keys."""
        with self._told():
            if keys is None:
                self._base.execute("DELETE FROM states")
            else:
                self._base.executemany("DELETE FROM states WHERE key = ?", ((json.dumps(key),) for key in keys))

    def note(self, name: str) -> Any:
        """The note of this name, or None."""
        with self._told():
            row = self._base.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def take_note(self, name: str, value: Any) -> None:
        """Replace the note of this name. `value` is anything that JSON can say."""
        with self._told():
            self._base.execute(
                "INSERT INTO notes VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (name, json.dumps(value)),
            )

    def commit(self) -> None:
        """Make all that was written since the last `commit` durable, together."""
        with self._told():
            self._base.execute("COMMIT")
            self._base.execute("BEGIN IMMEDIATE")

    def close(self) -> None:
        """Close the store. What was not committed is lost."""
        self._base.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                raise InputError(f"{self.path} is used by another process at this moment") from error
            raise InputError(f"the store {self.path or 'of states'} cannot be used: {error}") from error
