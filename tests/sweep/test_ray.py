"""Sweeps on a real Ray cluster of two node processes, each with one simulated GPU."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.lab import leases

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray")

STUDY = """\
iterations = 2
warmup = 0
replicates = 0
[engine]
model = "m"
backend = "simulated"
pace = 0.05
[workload]
requests = 32
input_tokens = 8
output_tokens = 4
[[axis]]
name = "max_num_seqs"
values = [2, 4, 8, 16]
[[axis]]
name = "concurrency"
values = [1, 2, 4, 8, 16, 32]
"""
ROOT = str(Path(__file__).parents[2])
Capture = pytest.CaptureFixture[str]


class Nodes:
    """A cluster that a test can break."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, *filter(None, sys.path)])}
        command = [sys.executable, str(Path(__file__).with_name("ray_nodes.py"))]
        self.process = subprocess.Popen(
            command, env=environment, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()

    def kill(self, which: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"kill {which}\n")
        self.process.stdin.flush()

    def kill_after(self, points: int, results: Path, which: str) -> threading.Thread:
        """Kill when so many points are in the results file."""

        def wait() -> None:
            while not results.exists() or len(json.loads(results.read_text())["points"]) < points:
                time.sleep(0.02)
            self.kill(which)

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        children = psutil.Process(self.process.pid).children(recursive=True)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        for child in children:
            if child.is_running():
                child.kill()


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    started = Nodes()
    yield started
    started.close()


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(leases.VARIABLE, str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    path = tmp_path / "study.toml"
    path.write_text(STUDY, encoding="utf-8")
    return path


def sweep(*arguments: str | Path) -> int:
    return cli.main(["sweep", *(str(one) for one in arguments)])


def figures(path: Path) -> list[Any]:
    """What a results file says of its points, in order; without what depends on the clock and the host."""
    points = json.loads(path.read_text())["points"]
    for point in points:
        point["started"] = point["seconds"] = None
        for engine in point["engines"]:
            engine["samples"] = {name: some for name, some in engine["samples"].items() if not name.startswith("host.")}
            engine["cold_start"] = None
            engine["once"] = {name: one for name, one in engine["once"].items() if not name.startswith("load_time.")}
    return points  # type: ignore[no-any-return]


@pytest.mark.long  # two nodes start in half a minute; test_ray_local.py has the quick one
def test_a_node_that_dies_in_mid_sweep_leaves_its_points_to_the_other(
    study: Path, nodes: Nodes, capsys: Capture
) -> None:
    results = study.with_name("study.results.json")
    killer = nodes.kill_after(5, results, "0")
    assert sweep(study, f"--ray={nodes.address}") == 0
    killer.join(10)
    told = capsys.readouterr().err
    assert ": lost: " in told
    assert told.splitlines()[-1] == "24 of 24 points"
    points = json.loads(results.read_text())["points"]
    assert 4 <= sum(point["started"] for point in points) <= 5  # the lost worker's engine once more
    assert not [point["reason"] for point in points if point["reason"]]
    study.write_text(STUDY.replace("pace = 0.05", "pace = 0"), encoding="utf-8")
    assert sweep(study, "--results", study.with_name("serial.json")) == 0
    assert figures(results) == figures(study.with_name("serial.json"))


@pytest.mark.long
def test_a_cluster_that_goes_away_is_one_line_and_the_finished_points_are_safe(
    study: Path, nodes: Nodes, capsys: Capture
) -> None:
    study.write_text(STUDY.replace("pace = 0.05", "pace = 3"), encoding="utf-8")  # longer than Ray takes to notice
    results = study.with_name("study.results.json")
    killer = nodes.kill_after(2, results, "head")
    assert sweep(study, f"--ray={nodes.address}") == 2
    killer.join(10)
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("vllmperf: ")
    assert f"finished points are in {results}, and the same command goes on from there" in told
    done = len(json.loads(results.read_text())["points"])
    assert 2 <= done < 24
    assert sweep(study, "--show") == 0
    assert f"{24 - done} still to measure" in capsys.readouterr().out
