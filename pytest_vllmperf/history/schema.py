"""The tables of a history. Their names begin alike, so that they may stand beside the tables of others."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

NAME: Final = "pytest-vllmperf/history"
"""Stands in the table of the schema, so that a table of somebody else is not taken for it."""
VERSION: Final = 1
"""Of the tables; grows with every change that this release's reader would not understand."""

RUN: Final = "run"
BASELINE: Final = "baseline"
"""Where a row of the table of runs comes from: the file of a run, or a session in a baseline file."""

metadata = MetaData()

_HASH: Final = 64

schema = Table(
    "vllmperf_schema",
    metadata,
    Column("name", String(_HASH), primary_key=True),
    Column("version", Integer, nullable=False),
)
"""One row. It is locked while a run is added, so that two adds follow each other."""

run = Table(
    "vllmperf_run",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", String(_HASH), nullable=False, unique=True),
    Column("source", String(16), nullable=False),
    Column("started", String(40), nullable=False),
    Column("commit_hash", String(_HASH)),
    Column("dirty", Boolean),
    Column("complete", Boolean, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("plugin", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("driver", Text),
    Column("vllm", Text),
    Column("added", String(40), nullable=False),
)
"""A run, or a session of a baseline file. `key` is a hash of what tells it from all others."""

series = Table(
    "vllmperf_series",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", String(_HASH), nullable=False, unique=True),
    Column("test", Text, nullable=False),
    Column("check_name", Text, nullable=False),
    Column("measurement", Integer, nullable=False),
    Column("profile", Text, nullable=False),
    Column("metric", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("better", String(8), nullable=False),
    Column("kind", Text, nullable=False),
    Column("clock", Text, nullable=False),
)
"""What values are of. `key` is a hash of the test, check, measurement, profile and metric."""

environment = Table(
    "vllmperf_environment",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", String(_HASH), nullable=False, unique=True),
    Column("hard", Text, nullable=False),
    Column("soft", Text, nullable=False),
    Column("workload", Text, nullable=False),
)
"""Where and what was measured, as JSON. `key` is a hash of the rest."""

point = Table(
    "vllmperf_point",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run", Integer, ForeignKey("vllmperf_run.id"), nullable=False),
    Column("series", Integer, ForeignKey("vllmperf_series.id"), nullable=False),
    Column("environment", Integer, ForeignKey("vllmperf_environment.id"), nullable=False),
    Column("time", Float(53), nullable=False),
    Column("value", Float(53)),
    Column("engines", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("check_status", String(16), nullable=False),
    Column("gated", Boolean, nullable=False),
    Column("baseline", Float(53)),
    Column("change", Float(53)),
    Column("left_out", Text, nullable=False),
    UniqueConstraint("run", "series"),
    Index("vllmperf_point_time", "time"),
)
"""One value: a metric of a check in a run. `engines` are the medians of its engine starts, as JSON.

`left_out` says why it does not count; empty for one that does. `value` is NULL where there is none.
"""
