"""`Finding`: one thing that was looked at. Probes make them; one that fails becomes a line too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from pytest_vllmperf.errors import in_one_line
from pytest_vllmperf.records.home import home, without_home
from pytest_vllmperf.records.masking import masked_text


class State(Enum):
    """How a thing is; the value is the word for people and programs."""

    FINE = "ok"
    ABSENT = "absent"
    WARNING = "warning"
    BLOCKS = "blocks"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: the thing.
        state: how it is. `ABSENT` is no fault: an extra that a first test does not need. `BLOCKS`: no test that starts
            vLLM can run here.
        text: what was found, in one line.
        remedy: what to do about it; empty where there is nothing to do.
        data: figures for programs.
    """

    name: str
    state: State
    text: str
    remedy: str = ""
    data: Mapping[str, object] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "name": self.name,
            "state": self.state.value,
            "text": self.text,
            "remedy": self.remedy,
            "data": dict(self.data),
        }


@dataclass(frozen=True)
class Section:
    """Findings on one subject.

    Attributes:
        title: the subject.
        findings: in the order in which they are shown.
    """

    title: str
    findings: tuple[Finding, ...]


Probe = Callable[[], Iterable[Finding]]


def section(title: str, probes: Mapping[str, Probe]) -> Section:
    """What each probe finds; one that raises makes a line that says so.

    Args:
        title: of the section.
        probes: by the name of what they look at.
    """
    return Section(title, tuple(_shown(one) for name, probe in probes.items() for one in _found(name, probe)))


def blocking(sections: Sequence[Section]) -> list[Finding]:
    """What keeps a test from running, in order."""
    return [one for part in sections for one in part.findings if one.state is State.BLOCKS]


def _found(name: str, probe: Probe) -> Sequence[Finding]:
    try:
        return tuple(probe())
    except Exception as error:
        # Whatever a machine does to a probe, the others must still tell what they found.
        return (Finding(name, State.UNKNOWN, f"cannot be told: {in_one_line(error)}"),)


def _shown(one: Finding) -> Finding:
    """Without secrets and the home folder."""

    def clean(text: str) -> str:
        return str(without_home(masked_text(text), home()))

    data = {key: clean(value) if isinstance(value, str) else value for key, value in one.data.items()}
    return Finding(one.name, one.state, clean(one.text), clean(one.remedy), data)
