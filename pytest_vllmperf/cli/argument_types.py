"""Types of arguments that argparse does not have."""

from __future__ import annotations


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
