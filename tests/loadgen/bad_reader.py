"""A reader that cannot be called: an error of the load generator itself."""

from __future__ import annotations


def read() -> None:
    """Takes nothing, though two things are handed to it."""
