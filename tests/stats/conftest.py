"""Baselines with noise of known size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pytest_vllmperf.stats import WALL_CLOCK, EngineTable, FloatArray, NoiseModel, Spread, observe
from pytest_vllmperf.stats.grid import ENGINE_SDS, GRID, SESSION_SDS

QUIET = replace(WALL_CLOCK, engine_sd=0.0025, session_sd=0.002)
"""A GPU with the host to itself."""


def table(values: FloatArray, layout: tuple[int, ...], within: float = 0.0) -> EngineTable:
    return EngineTable(values, layout, np.full(len(values), within))


def drawn(
    rng: np.random.Generator,
    metrics: int,
    sessions: int,
    engines: int,
    session_sd: FloatArray | float,
    engine_sd: FloatArray | float,
) -> FloatArray:
    """Engine values, shape (metrics, sessions, engines), log units; a standard deviation a metric, or one for all."""
    of_session = np.reshape(session_sd, (-1, 1, 1))
    of_engine = np.reshape(engine_sd, (-1, 1, 1))
    by_session = rng.normal(size=(metrics, sessions, 1)) * of_session
    return np.asarray(by_session + rng.normal(size=(metrics, sessions, engines)) * of_engine)


def baselines(values: FloatArray) -> EngineTable:
    """Values of shape (metrics, sessions, engines) as a table."""
    metrics, sessions, engines = values.shape
    return table(values.reshape(metrics, -1), (engines,) * sessions)


def spread_of(values: FloatArray, prior: object = WALL_CLOCK, gap: tuple[int, int] | None = None) -> Spread:
    """Mean squares of values of shape (metrics, sessions, engines)."""
    stored = baselines(values)
    return observe(stored.values, stored.layout, prior, gap)[1]  # type: ignore[arg-type]


def on_grid(sds: FloatArray, wanted: float) -> int:
    """Position of the standard deviation of the grid that is nearest."""
    return int(np.abs(np.log(sds / wanted)).argmin())


def certain(engine_sd: float, session_sd: float, rows: int = 1) -> FloatArray:
    """Weights that leave no doubt: all on the grid's nearest pair."""
    weights = np.zeros((rows, GRID))
    weights[:, on_grid(ENGINE_SDS, engine_sd) * len(SESSION_SDS) + on_grid(SESSION_SDS, session_sd)] = 1
    return weights


def known_model(
    sessions: FloatArray,
    engine_sd: float = 0.01,
    session_sd: float = 0.005,
    engines: int = 3,
    gap: tuple[int, int] | None = None,
) -> NoiseModel:
    """A baseline whose noise is known, with its sessions at these levels, shape (metrics, sessions)."""
    rows, count = sessions.shape
    weights = certain(engine_sd, session_sd, rows)
    one_mode = np.zeros(rows, dtype=np.bool_)
    return NoiseModel(sessions[:, :5].mean(axis=1), sessions, weights, one_mode, (engines,) * count, gap)
