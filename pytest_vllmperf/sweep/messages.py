"""What the process that drives a sweep and its workers tell each other: JSON, checked on both sides."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.sweep import PointResult, Values
from pytest_vllmperf.sweep.study import Study

STUDY: TypeAdapter[Study] = TypeAdapter(Study)
"""A study as JSON, and back."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Job(_Message):
    """One point to measure.

    Attributes:
        settings: the value of each axis.
        again: in which round of replicates; 0 for the first measurement.
    """

    settings: Values
    again: int = Field(default=0, ge=0)


class Ready(_Message):
    """A worker is there.

    Attributes:
        worker: its number; one that takes the place of a lost worker has a new one.
        host: name of its machine.
        hardware: its GPUs, or its processor; and the driver.
        versions: of this package, of Python, and of the vLLM beside it.
        nice: its niceness; engines inherit it.
        gpus: that it may use; workers of one host without any take turns.
    """

    kind: Literal["ready"] = "ready"
    worker: int = 0
    host: str
    hardware: str
    versions: dict[str, str]
    nice: int
    gpus: int = Field(default=0, ge=0)


class Doing(_Message):
    """What a worker's engine does.

    Attributes:
        worker: its number.
        doing: for a person.
        waited: for how many seconds.
    """

    kind: Literal["doing"] = "doing"
    worker: int = 0
    doing: str
    waited: float = Field(ge=0)


class Finished(_Message):
    """A worker has measured its point.

    Attributes:
        worker: its number.
        job: what it had.
        result: of a first measurement.
        samples: of a replicate; empty where it failed or is void.
    """

    kind: Literal["finished"] = "finished"
    worker: int = 0
    job: Job
    result: PointResult | None = None
    samples: tuple[EngineSamples, ...] = ()


class Withdrawn(_Message):
    """A worker cannot go on: it has no device, or something failed that nobody foresaw. Its point is not to blame.

    Attributes:
        worker: its number.
        why: in a line.
    """

    kind: Literal["withdrawn"] = "withdrawn"
    worker: int = 0
    why: str


class Lost(_Message):
    """A worker is gone, or none comes to a place.

    Attributes:
        worker: its number.
        why: in a line.
        coming: how many workers are still to come, one in its place among them.
    """

    kind: Literal["lost"] = "lost"
    worker: int
    why: str
    coming: int = Field(ge=0)


class Starting(_Message):
    """The cluster has answered.

    Attributes:
        coming: how many workers are started.
    """

    kind: Literal["starting"] = "starting"
    coming: int = Field(ge=0)


class Failed(_Message):
    """Nothing goes on.

    Attributes:
        why: in a line.
    """

    kind: Literal["failed"] = "failed"
    why: str


class Alive(_Message):
    """The cluster still answers."""

    kind: Literal["alive"] = "alive"


class Open(_Message):
    """What is wanted of a cluster.

    Attributes:
        address: `local`, `auto` or HOST:PORT.
        study: as JSON.
        folder: of the command; paths of the study are meant from there.
        temporary: for the files of a local instance.
        gpus: that each worker needs, where there are GPUs.
        workers: how many; None for one for each GPU, or for each node where there are none.
    """

    address: str
    study: str
    folder: str
    temporary: str
    gpus: int = Field(ge=1)
    workers: int | None = Field(default=None, ge=1)


class Order(_Message):
    """What a worker is to do.

    Attributes:
        worker: its number.
        job: what to measure; None to give its devices back.
    """

    worker: int
    job: Job | None = None


Event = Annotated[Ready | Doing | Finished | Withdrawn | Lost | Starting | Failed | Alive, Field(discriminator="kind")]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)
"""What comes from the cluster."""
OF_WORKER: TypeAdapter[Doing | Finished | Withdrawn] = TypeAdapter(
    Annotated[Doing | Finished | Withdrawn, Field(discriminator="kind")]
)
"""What a worker says while it measures."""
