"""Answers of all parts, for the rows whose polymer another part computed."""

import json
import sqlite3
from collections.abc import Mapping
from functools import lru_cache

from periogt_ray.batch.results import answer_of
from periogt_ray.tables.predictions import Answer

__all__ = ["AnswerStore"]

_MOST_REMEMBERED = 4096  # polymers whose answers are in memory; an input that repeats itself asks for few


class AnswerStore:
    """Answers by canonical SMILES; they spill to an unnamed temporary file, so memory is bounded."""

    def __init__(self) -> None:
        # The empty name is SQLite's private database, unlinked as soon as it is open.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE answers (key TEXT PRIMARY KEY, answers TEXT) WITHOUT ROWID")
        # What is kept does not change, so what was read stays right.
        self._remembered = lru_cache(maxsize=_MOST_REMEMBERED)(self._read)

    def add(self, answers: Mapping[str, list[Answer]]) -> None:
        """Keep answers; those that are there already stay."""
        rows = [(key, json.dumps(value, default=vars)) for key, value in answers.items()]
        self._database.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?)", rows)

    def get(self, key: str) -> list[Answer]:
        """Return the answers of a polymer; KeyError if there are none."""
        return self._remembered(key)

    def _read(self, key: str) -> list[Answer]:
        found = self._database.execute("SELECT answers FROM answers WHERE key = ?", (key,)).fetchone()
        if found is None:
            raise KeyError(key)
        return [answer_of(document) for document in json.loads(found[0])]

    def close(self) -> None:
        """Drop everything."""
        self._remembered.cache_clear()
        self._database.close()
