"""Finds the history that a command or a run uses, and opens it. SQLAlchemy is imported only then."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pytest_vllmperf.errors import HistoryError

if TYPE_CHECKING:
    from pytest_vllmperf.history.database import Database

VARIABLE: Final = "VLLMPERF_HISTORY"
"""The environment variable that names the history: a URL may hold a password, which others could see in a command."""
DEFAULT: Final = "vllmperf-history.db"
"""The file where nobody names another one."""
TIMEOUT_S: Final = 10.0
"""How long a database that another process has locked is waited for."""
INSTALL: Final = "pip install 'pytest-vllmperf[history]'"
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+_]*://")


def is_url(where: str) -> bool:
    """Whether it is a URL, and not the name of a file."""
    return bool(_SCHEME.match(where))


def place(named: str | None, folder: Path | None = None) -> str:
    """The file or URL of a history.

    Args:
        named: a file or URL; None or empty for the one that the environment names, or the default.
        folder: that the name of a file begins at; None for the current one. The environment's begins at the current
            one, as it holds for the command, too.
    """
    if not named and (told := os.environ.get(VARIABLE)):
        return told
    where = named or DEFAULT
    return where if folder is None or is_url(where) or not where.strip() else str(folder / where)


def opened(where: str, timeout: float = TIMEOUT_S) -> Database:
    """The database of a history. Nothing is connected to yet.

    Args:
        where: a file or URL.
        timeout: seconds that a locked one is waited for.

    Raises:
        HistoryError: where SQLAlchemy is not installed, or the URL is not valid.
    """
    try:
        from pytest_vllmperf.history import database
    except ModuleNotFoundError as error:
        if error.name != "sqlalchemy":
            raise
        raise HistoryError(f"a history needs SQLAlchemy; install it: {INSTALL}") from None
    return database.Database(where, timeout)
