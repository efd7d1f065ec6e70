"""How a process ended: exit codes, signals, and the control group's memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_vllmperf.engines import endings
from pytest_vllmperf.engines.endings import OomKills, ending, oom_kills

NONE = OomKills(0, None)
Counted = Callable[[OomKills], None]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Sets what the kernel has counted by now."""
    return lambda kills: monkeypatch.setattr(endings, "oom_kills", lambda: kills)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (None, "ended unexpectedly during run"),
        (0, "ended with exit code 0 during run"),
        (3, "ended with exit code 3 during run"),
        (-signal.SIGSEGV, "was ended by SIGSEGV during run"),
        (-signal.SIGRTMIN, "was ended by SIGRTMIN during run"),
        (-(signal.SIGRTMIN + 5), "was ended by SIGRTMIN+5 during run"),
        (-signal.SIGRTMAX, "was ended by SIGRTMAX during run"),
        (-32, "was ended by signal 32 during run"),  # the C library's own
        (-signal.SIGKILL, "was ended by SIGKILL during run; the kernel sends it when memory runs out"),
    ],
)
def test_how_a_process_ended(counted: Counted, code: int | None, said: str) -> None:
    counted(NONE)
    assert ending(code, " during run", NONE) == said


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (OomKills(4, 3 * 2**29), "the cgroup's limit of 1.5 GiB"),
        (OomKills(4, None), "the machine has no memory left"),
    ],
)
def test_a_kill_for_memory_names_the_limit(counted: Counted, now: OomKills, why: str) -> None:
    counted(now)
    assert ending(-signal.SIGKILL, " during load", OomKills(3, None)) == (
        f"was killed during load because memory ran out ({why})"
    )
    assert "because memory ran out" not in ending(-signal.SIGKILL, "", now)  # counted before
    assert "because memory ran out" not in ending(-signal.SIGTERM, "", NONE)


def tree(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


EVENTS = "low 0\nhigh 0\nmax 12\noom 3\noom_kill {}\noom_group_kill 0\n"


@pytest.mark.parametrize(
    ("membership", "files", "kills"),
    [
        (
            "0::/user/job\n",
            {
                "user/job/memory.events": EVENTS.format(2),
                "user/job/memory.max": "max\n",
                "user/memory.events": EVENTS.format(9),
                "user/memory.max": "4096\n",
                "memory.max": "8192\n",
            },
            OomKills(2, 4096),
        ),
        (
            "0::/\n",
            {"memory.events": EVENTS.format(1), "memory.max": "4096\n"},
            OomKills(1, 4096),
        ),
        (  # a container that sees its own group as the root
            "0::/docker/0123\n",
            {"memory.events": EVENTS.format(1), "memory.max": "max\n"},
            OomKills(1, None),
        ),
        ("0::/../../job\n", {"memory.events": EVENTS.format(5)}, OomKills(5, None)),
        (
            "9:name=systemd:/\n5:cpu,memory:/job\n0::/\n",
            {
                "memory/job/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n",
                "memory/job/memory.limit_in_bytes": "8192\n",
                "memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            OomKills(7, 8192),
        ),
        ("0::/job\n", {}, NONE),
        ("", {}, NONE),
    ],
)
def test_counts_and_limits_of_control_groups(
    tmp_path: Path, membership: str, files: dict[str, str], kills: OomKills
) -> None:
    (tmp_path / "membership").write_text(membership)
    tree(tmp_path / "root", files)
    assert oom_kills(tmp_path / "root", tmp_path / "membership") == kills


def test_without_proc_nothing_is_counted(tmp_path: Path) -> None:
    assert oom_kills(tmp_path, tmp_path / "none") == NONE


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group of this machine's with room for 64 MiB."""
    line = next((one for one in Path("/proc/self/cgroup").read_text().splitlines() if ":memory:" in one), "0::/")
    _, controllers, path = line.split(":", 2)
    group = Path("/sys/fs/cgroup", controllers, path.strip("/"), f"vllmperf-test-{os.getpid()}")
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if controllers else "memory.max")).write_text(str(64 * 2**20))
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    yield group
    group.rmdir()


EATER = """
import subprocess, sys
from pathlib import Path
from pytest_vllmperf.engines.endings import ending, oom_kills
Path(sys.argv[1], "cgroup.procs").write_text("0")
before = oom_kills()
code = subprocess.run([sys.executable, "-c", "held = [bytearray(2**20) for _ in range(200)]"]).returncode
print(ending(code, "", before))
"""


def test_a_real_kill_for_memory(small_group: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EATER, str(small_group)], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "was killed because memory ran out (the cgroup's limit of 0.0625 GiB)\n"
