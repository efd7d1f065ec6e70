"""Fixtures for the load generator."""

from __future__ import annotations

from tests.loadgen.serving import authority, scripted, shared_server, tls_server, trusted

__all__ = ["authority", "scripted", "shared_server", "tls_server", "trusted"]
