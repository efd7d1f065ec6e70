"""Machines of equal hardware that share baselines under one name: which of them a session was recorded on."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Mapping

from pytest_vllmperf.lab.environment import cpu_model
from pytest_vllmperf.records.samples import MACHINE, PROFILE_NAME, Environment
from pytest_vllmperf.storage.names import slug

VARIABLE = "VLLMPERF_MACHINE"
"""Names a machine whose host name changes, such as a container's."""
_DIGITS = 8


def machine(env: Mapping[str, str], host: str) -> str:
    """What a machine is called in a baseline: the variable's value, else the start of a hash of its host name.

    A host name may say more than a repository should tell; eight digits of a hash tell machines apart.

    Args:
        env: of this process.
        host: its host name.
    """
    if name := env.get(VARIABLE, "").strip():
        return slug(name)
    return hashlib.sha256(f"pytest-vllmperf machine {host}".encode()).hexdigest()[:_DIGITS]


def named(environment: Environment, name: str) -> Environment:
    """An environment as a machine of a fleet has it.

    Which machine it was is no reason not to compare: it is what the fleet's sessions vary by. The processor of a host
    with GPUs is told because the wall clock depends on it.

    Args:
        environment: as of a machine by itself.
        name: of the profile.
    """
    soft = {**environment.soft, PROFILE_NAME: name, MACHINE: machine(os.environ, socket.gethostname())}
    if "gpu" in environment.hard:
        soft["host processor"] = f"{cpu_model()}, {os.cpu_count()} cores"
    return environment.model_copy(update={"soft": dict(sorted(soft.items()))})
