"""What argparse does not have: types of arguments, and a dataclass filled by them."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import TypeVar

Asked = TypeVar("Asked")


def positive(text: str) -> int:
    """A whole number of at least 1.

    Raises:
        ValueError: for anything else.
    """
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


positive.__name__ = "positive number"  # as argparse calls it in its message


def filled(kind: type[Asked], chosen: argparse.Namespace) -> Asked:
    """A dataclass whose fields are the arguments of the same names.

    Args:
        kind: the dataclass.
        chosen: what argparse has read.
    """
    return kind(**{one.name: getattr(chosen, one.name) for one in fields(kind)})  # type: ignore[arg-type]
