"""The user's home folder in what is stored and shown: `~`, so that one person's checkout agrees with another's."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path


def home() -> str:
    """The user's home folder; empty where there is none, or where it is the root of the file system."""
    try:
        found = os.path.normpath(Path.home())
    except RuntimeError:  # no HOME, and no entry in the table of users
        return ""
    return "" if found in ("/", ".") else found


def without_home(value: object, folder: str) -> object:
    """A value with `~` for the home folder wherever a text in it names that, in nested mappings and lists too.

    Args:
        value: of an engine argument.
        folder: of `home`.
    """
    if isinstance(value, Mapping):
        return {key: without_home(one, folder) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [without_home(one, folder) for one in value]
    if not folder or not isinstance(value, str):
        return value
    return re.sub(rf"(?<![\w.~/-]){re.escape(folder)}(?![\w.-])", "~", value)
