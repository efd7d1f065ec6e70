"""The command `vllmperf`: what happens outside a test run."""

from pytest_vllmperf.cli.command import main

__all__ = ["main"]
