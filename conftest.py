"""Fixtures for everything below the repository's root."""

pytest_plugins = ["pytester"]
