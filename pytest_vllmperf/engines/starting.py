"""How an engine is started: what a launcher hands to a backend, and the start that engines in child processes share."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pytest_vllmperf import models
from pytest_vllmperf.engines.arguments import check_arguments
from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.engines.child_engine import Program, start_child
from pytest_vllmperf.engines.forkserver import ForkServer, Library
from pytest_vllmperf.records.engine import Progress, Timeouts
from pytest_vllmperf.records.spec import EngineSpec


class Host(Protocol):
    """What a launcher keeps for the engines of a run."""

    @property
    def folder(self) -> Path:
        """For logs and temporary files; made when it is asked for."""

    def server(self, start: Start, library: Library) -> ForkServer:
        """The server process of this engine's interpreter and environment, ready, with a library imported."""


@dataclass(frozen=True)
class Start:
    """One start of an engine.

    Attributes:
        spec: what to run.
        number: how many engines of this spec were started before.
        env: the environment variables that it is given: its devices, and the spec's own.
        timeouts: start, operation and shutdown.
        progress: called with what is going on.
        host: what the launcher keeps for it.
    """

    spec: EngineSpec
    number: int
    env: Mapping[str, str]
    timeouts: Timeouts
    progress: Progress
    host: Host


Starter = Callable[[Start], Engine]
"""Starts an engine and waits until it can take requests; raises `EngineStartError` when it does not come up."""


def in_child(program: Program) -> Starter:
    """What starts engines that run this program in a child process."""

    def begin(start: Start) -> Engine:
        models.check_location(start.spec.model, start.spec.args, {**os.environ, **dict(start.spec.env)})
        model = models.resolve(start.spec.model, start.progress)
        if not program.own_arguments:
            check_arguments(start.spec, program.library.module)
        server = start.host.server(start, program.library)
        return start_child(start.spec, program, model, server, start.host.folder, start.timeouts, start.progress)

    return begin
