"""The report of `vllmperf doctor`: all probes in their order, its verdict, and how it is shown."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from pytest_vllmperf.cli import first_test
from pytest_vllmperf.cli.doctor import devices, machine, software
from pytest_vllmperf.cli.doctor.devices import Gpus
from pytest_vllmperf.cli.doctor.finding import Finding, Section, State, blocking, section
from pytest_vllmperf.cli.doctor.software import Build, Vllm
from pytest_vllmperf.cli.first_test import FirstTest
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.metrics.gates import Gate, automatic

SCHEMA = 1
READY, NOT_READY = 0, 1
_NAME = 16
_STATE = 8


@dataclass(frozen=True)
class Diagnosis:
    """What was found, and what follows.

    Attributes:
        sections: of findings.
        test: what a first test should say here.
    """

    sections: tuple[Section, ...]
    test: FirstTest

    @property
    def first(self) -> str:
        """The one thing to do first; empty where a test can run."""
        found = blocking(self.sections)
        return found[0].remedy or f"{found[0].name}: {found[0].text}" if found else ""

    @property
    def exit_code(self) -> int:
        """0 where a test can run here."""
        return NOT_READY if self.first else READY

    def as_json(self) -> str:
        """For a program."""
        told = {
            "schema": SCHEMA,
            "ready": not self.first,
            "first": self.first,
            "markers": self.test.markers,
            "sections": {part.title: [one.as_dict() for one in part.findings] for part in self.sections},
        }
        return json.dumps(told, indent=2, ensure_ascii=False)

    def lines(self, width: int) -> list[str]:
        """For a person.

        Args:
            width: columns.
        """
        shown = [line for part in self.sections for line in ("", part.title, *_rows(part, width))][1:]
        test = ["", "A first test here", *(f"  {line}" for line in self.test.markers.splitlines())]
        return [*shown, *test, "", *self._end(width)]

    def _end(self, width: int) -> list[str]:
        """What follows from all of it; what is to be typed is never broken."""
        if self.first:
            return ["Not ready. First:", f"  {self.first}"]
        told = "`vllmperf init` writes this one; `pytest --vllmperf-update` records its baseline."
        return textwrap.wrap(f"Ready: a test can run here. {told}", width, break_on_hyphens=False)


def diagnose(*, ask_hub: bool = True) -> Diagnosis:
    """Look at this machine. Takes a second, or as long as the hub does not answer; starts no engine.

    Args:
        ask_hub: whether to see that the hub of models answers.
    """
    seen, found, failed = devices.look(), None, ""
    try:
        found = software.find_vllm()
    except Exception as error:  # a probe: its failure is a line
        failed = str(error)
    gpu = runs_on_gpu(found, seen)
    sections = (
        _software_section(found, failed, seen),
        _devices_section(seen, on_gpu=gpu),
        _machine_section(on_gpu=gpu, ask_hub=ask_hub),
    )
    return Diagnosis(sections, suited(seen, on_gpu=gpu))


def _software_section(found: Vllm | None, failed: str, seen: Gpus) -> Section:
    """What is installed.

    Args:
        found: the vLLM.
        failed: why it could not be looked at; empty where it could.
        seen: the GPUs.
    """
    return section(
        "Software",
        {
            "Python": software.python,
            "pytest": software.pytest_itself,
            "plugin": software.plugin,
            "vLLM": lambda: _failed_vllm(failed) if failed else software.vllm(found, seen),
            "torch": lambda: software.torch(found),
            "extras": software.extras,
        },
    )


def _devices_section(seen: Gpus, *, on_gpu: bool) -> Section:
    """GPUs, and whether they can be measured on."""
    return section(
        "Devices",
        {
            "NVIDIA driver": lambda: devices.driver(seen),
            "GPUs": lambda: devices.gpus(seen),
            "leases": lambda: devices.leases(seen),
            "clock": lambda: clock(on_gpu=on_gpu),
        },
    )


def _machine_section(*, on_gpu: bool, ask_hub: bool) -> Section:
    """The host, and what it reaches."""
    return section(
        "Machine",
        {
            "processor": machine.processor,
            "memory": lambda: machine.memory(on_cpu=not on_gpu),
            "container": machine.container,
            "temporary folder": machine.temporary,
            "model hub": lambda: machine.hub(ask=machine.answer if ask_hub else None),
        },
    )


def runs_on_gpu(found: Vllm | None, seen: Gpus) -> bool:
    """Whether engines here run on a GPU; where vLLM is still missing, whether they could.

    Args:
        found: the vLLM.
        seen: the GPUs.
    """
    return bool(seen.usable) and (found is None or found.build is Build.GPU)


def of_this_machine() -> FirstTest:
    """A first test for this machine; for its processor where vLLM cannot be looked at."""
    seen, found = devices.look(), None
    with suppress(SpecError):
        found = software.find_vllm()
    return suited(seen, on_gpu=runs_on_gpu(found, seen))


def suited(seen: Gpus, *, on_gpu: bool) -> FirstTest:
    """The first test for this machine; on the GPU with the most free memory.

    Args:
        seen: the GPUs.
        on_gpu: whether engines run on one.
    """
    if not on_gpu:
        return first_test.on_cpu()
    best = seen.usable[0]
    return first_test.on_gpu(best.device.name, best.free_share)


def clock(*, on_gpu: bool) -> Iterator[Finding]:
    """Whether timing decides tests here, and why not.

    Args:
        on_gpu: whether engines run on a GPU.
    """
    gates = automatic("cuda" if on_gpu else "cpu")
    data = {"gates": [gate.word for gate in gates]}
    about = "; ".join(gate.about for gate in gates)
    if Gate.CLOCK in gates:
        yield Finding("clock", State.FINE, f"gated, by {about}", data=data)
    else:
        text = f"not gated, as on a CPU timing depends on other processes more than on the engine; gated are {about}"
        yield Finding("clock", State.ABSENT, text, 'to gate it all the same: @pytest.mark.vllmperf(gate="exact cpu"), '
                      'by CPU time, or gate="exact clock"', data)  # fmt: skip


def _failed_vllm(reason: str) -> Iterator[Finding]:
    yield Finding("vLLM", State.BLOCKS, f"cannot be looked at: {reason}", "reinstall it in a new environment")


def _rows(part: Section, width: int) -> Iterator[str]:
    indent = " " * (2 + _STATE + 1 + _NAME + 1)
    for one in part.findings:
        head = f"  {one.state.value:{_STATE}} {one.name:{_NAME}} "
        text = f"{one.text} -> {one.remedy}" if one.remedy else one.text
        room = max(width, len(indent) + 30)
        yield from textwrap.wrap(
            text, room, initial_indent=head, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
