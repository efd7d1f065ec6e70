"""What is asked for of a Ray cluster, and what cannot be meant."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.errors import EngineError, SpecError
from pytest_vllmperf.sweep import cluster
from pytest_vllmperf.sweep.messages import STUDY, Alive
from pytest_vllmperf.sweep.ray_errors import in_words
from pytest_vllmperf.sweep.study import Study, read
from tests.sweep.conftest import ENGINE, Write

OFFLINE = 'model = "m"\nbackend = "offline"\n'
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray")


def test_a_study_travels_as_json(write: Write) -> None:
    study = read(write('stages = ["max_num_seqs"]\n', max_num_seqs="[2, 4]", concurrency="[1, 2]"))
    there = STUDY.validate_json(STUDY.dump_json(study))
    assert there.key == study.key
    points = list(study.space.points({}))
    assert list(there.space.points({})) == points
    assert [there.spec_of(point).key for point in points] == [study.spec_of(point).key for point in points]


def test_without_ray_one_line_says_what_to_install(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SpecError, match=r'Ray is not installed; pip install "pytest-vllmperf\[ray\]"'):
        cluster.check(read(write(concurrency="[1]")), "local")


@needs_ray
@pytest.mark.parametrize("address", ["somewhere", "ray://host:10001", "host:0", "host:99999", "host:"])
def test_an_address_that_is_none(write: Write, address: str) -> None:
    with pytest.raises(SpecError, match="the address of a Ray cluster is HOST:PORT, auto, or local"):
        cluster.check(read(write(concurrency="[1]")), address)


@needs_ray
def test_an_address_where_nobody_answers(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(EngineError, match=f"--ray={address}: no Ray cluster answers there: Connection refused"):
            cluster.check(read(write(concurrency="[1]")), address)


@needs_ray
@pytest.mark.parametrize(
    ("engine", "axes", "message"),
    [
        (f'{OFFLINE}distributed_executor_backend = "ray"\n', {}, "which workers hold; leave --ray out"),
        (OFFLINE, {"data_parallel_backend": '["mp", "ray"]'}, "which workers hold; leave --ray out"),
        ('model = "m"\nbackend = "endpoint"\nurl = "http://127.0.0.1:1/v1"\n', {}, "one endpoint at the same time"),
    ],
)
def test_what_workers_cannot_share_is_refused(write: Write, engine: str, axes: dict[str, str], message: str) -> None:
    study = read(write(engine=engine, workload="requests = 4\ninput_tokens = 8\noutput_tokens = 4\n",
                       concurrency="[1]", **axes))  # fmt: skip
    with pytest.raises(SpecError, match=message):
        cluster.check(study, "auto")


@pytest.mark.parametrize(
    ("engine", "axes", "gpus"),
    [
        ("", {}, 1),
        ("tensor_parallel_size = 2\n", {}, 2),
        ("tensor_parallel_size = 2\n", {"pipeline_parallel_size": "[1, 3]"}, 6),
        ("", {"tensor_parallel_size": '["(default)", 4, 2]'}, 4),
    ],
)
def test_a_worker_has_the_gpus_of_the_largest_engine(
    write: Write, engine: str, axes: dict[str, str], gpus: int
) -> None:
    assert cluster.gpus_of(read(write(engine=f"{ENGINE}{engine}", concurrency="[1]", **axes))) == gpus


def node(number: int, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"NodeID": str(number), "Alive": alive, "Resources": resources}


@needs_ray
def test_one_worker_a_gpu_else_one_a_node() -> None:
    from pytest_vllmperf.sweep.ray_process import places

    head, big, small, dead = node(0, CPU=4), node(1, CPU=9, GPU=2), node(2, CPU=9, GPU=1), node(3, alive=False, GPU=8)
    assert places([head, big, small, dead], 1, None) == (["1", "2", "1"], 1)
    assert places([head, big, small, dead], 2, None) == (["1"], 2)
    assert places([head, big, small, dead], 1, 2) == (["1", "2"], 1)
    assert places([head, node(4, CPU=2), node(5)], 1, None) == (["0", "4"], 0)
    assert places([head, node(4, CPU=2)], 1, 3) == (["0", "4", "0"], 0)
    with pytest.raises(ValueError, match="there is room for 3 workers of 4, each with GPU, on 3 nodes"):
        places([head, big, small, dead], 1, 4)
    with pytest.raises(ValueError, match="room for 0 workers of 1, each with 3 GPUs on one node"):
        places([head, big, small], 3, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("died\nTraceback\nModuleNotFoundError: No module named 'pytest_vllmperf.sweep'",
         "a node of the Ray cluster has no package pytest-vllmperf; install the same packages on every node"),
        (
            "Version mismatch: The cluster was started with:\n    Ray: 2.60.0\n    Python: 3.12.1\n"
            "This process on node 1 was started with:\n    Ray: 2.44.0\n    Python: 3.11.2\n",
            "the Ray cluster runs Ray 2.60.0, Python 3.12.1, and this command Ray 2.44.0, Python 3.11.2; "
            "both must be the same",
        ),
        ("Could not find any running Ray instance. Please specify the one to connect to",
         "none runs on this machine; start one with ray start --head, or leave the address out for a local one"),
        ("\n The node died.\nmore", "The node died."),
        ("", "RuntimeError"),
    ],
)  # fmt: skip
def test_rays_errors_in_a_line(text: str, words: str) -> None:
    assert in_words(RuntimeError(text)) == words


def test_workers_are_for_ray(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sweep", str(write(concurrency="[1]")), "--workers", "2"]) == 2
    assert capsys.readouterr().err == "vllmperf: --workers is for a sweep on Ray; add --ray\n"


@needs_ray
def test_the_file_may_stand_behind_ray(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int | None]] = []

    def opened(study: Study, address: str, workers: int | None) -> NoReturn:
        asked.append((address, workers))
        raise EngineError("enough")

    monkeypatch.setattr(cluster, "opened", opened)
    file = str(write(concurrency="[1]"))
    for arguments in (["--ray", file], ["--ray", file, "--workers", "2"], ["--ray", "auto", file], [file, "--ray"]):
        assert cli.main(["sweep", *arguments]) == 2
    assert asked == [("local", None), ("local", 2), ("auto", None), ("local", None)]


@pytest.mark.parametrize("arguments", [[], ["--ray"], ["--ray", "auto"]])
def test_a_sweep_without_a_file_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sweep", *arguments]) == 2
    assert capsys.readouterr().err == "vllmperf: FILE.toml is missing: vllmperf sweep FILE.toml\n"


@needs_ray
def test_a_ray_that_cannot_be_imported_is_one_line(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("raise ImportError('its library is broken')", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert cli.main(["sweep", str(write(concurrency="[1]")), "--ray"]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told == ("vllmperf: the local Ray instance cannot be used: Ray cannot be imported: its library is broken")


@pytest.fixture
def telling() -> Iterator[Callable[[str], cluster.RayWorkers]]:
    """Workers whose process runs some code and then waits for the end of its input."""
    processes = []

    def made(code: str) -> cluster.RayWorkers:
        command = [sys.executable, "-c", f"import sys; {code}"]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        return cluster.RayWorkers(processes[-1], "head:6379", "all is safe")

    yield made
    for process in processes:
        process.communicate()


WAIT = "sys.stdout.flush(); sys.stdin.read()"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", "the Ray cluster at head:6379 went away; all is safe"),
        (f"print('{{}}'); {WAIT}", "the Ray cluster at head:6379 sent what no worker sends; all is safe"),
        (f"""print('{{"kind": "failed", "why": "it is full"}}'); {WAIT}""", "head:6379 cannot be used: it is full"),
    ],
)
def test_a_cluster_that_cannot_go_on_is_one_line(
    telling: Callable[[str], cluster.RayWorkers], code: str, message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        telling(code).event(60)


def test_a_cluster_that_is_silent_is_given_up(
    telling: Callable[[str], cluster.RayWorkers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_START_S", 0.0)
    silent = telling(WAIT)
    with pytest.raises(EngineError, match="head:6379 has not answered for 0 s; all is safe"):
        silent.event(0)


def test_a_cluster_that_says_something_in_time_is_not_given_up(
    telling: Callable[[str], cluster.RayWorkers],
) -> None:
    talking = telling(f"""print('{{"kind": "alive"}}'); {WAIT}""")
    assert isinstance(talking.event(60), Alive)
    assert talking.event(0) is None


def test_nobody_else_can_use_a_local_instance_and_nothing_is_reported() -> None:
    one, other, cluster_of_others = (cluster._environment(local=local) for local in (True, True, False))
    assert one["RAY_AUTH_MODE"] == "token"
    assert len(one["RAY_AUTH_TOKEN"]) == 64
    assert one["RAY_AUTH_TOKEN"] != other["RAY_AUTH_TOKEN"]
    assert one["RAY_worker_niceness"] == "0"
    assert "RAY_AUTH_TOKEN" not in cluster_of_others.keys() - os.environ.keys()
    assert {env["RAY_USAGE_STATS_ENABLED"] for env in (one, cluster_of_others)} == {"0"}


class Interrupted(subprocess.Popen[bytes]):
    """A process during whose end somebody interrupts, once."""

    interrupted = False

    def communicate(self, input: bytes | None = None, timeout: float | None = None) -> tuple[bytes, bytes]:  # noqa: A002 - its name
        if not self.interrupted:
            self.interrupted = True
            raise KeyboardInterrupt
        return super().communicate(input, timeout)


def test_a_second_interrupt_kills_what_does_not_end_by_itself() -> None:
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    process = Interrupted([sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    family: list[psutil.Process] = []
    while not family:
        family = psutil.Process(process.pid).children(recursive=True)
    with pytest.raises(KeyboardInterrupt):
        cluster._end(process)
    assert process.returncode == -signal.SIGKILL
    assert psutil.wait_procs(family, 10)[1] == []


def test_vllm_gets_rays_executor_unchanged(tmp_path: Path) -> None:
    from pytest_vllmperf.engines.arguments import check_arguments
    from pytest_vllmperf.records.spec import EngineSpec

    spec = EngineSpec.create("m", distributed_executor_backend="ray", pipeline_parallel_size=2)
    check_arguments(spec, "vllm")
    assert spec.args == {"distributed_executor_backend": "ray", "pipeline_parallel_size": 2}
