"""What an engine's log tells."""

from pathlib import Path

import pytest

from pytest_vllmperf.engines import log

LOADING = "(EngineCore pid=41) INFO 10-20 12:00:01 [gpu_model_runner.py:1] Starting to load model org/m..."
SHARDS = "Loading safetensors checkpoint shards:  50% Completed | 1/2"
WEIGHTS = "(EngineCore_0 pid=41) INFO 10-20 12:00:09 [default_loader.py:2] Loading weights took 7.53 seconds"
COMPILING = "INFO 10-20 12:00:12 [backends.py:3] Dynamo bytecode transform time: 3.1 s"
EAGER = "WARNING 10-20 12:00:02 [vllm.py:4] Enforce eager set, disabling torch.compile and CUDAGraphs."
GRAPHS = "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE): 12%"


@pytest.mark.parametrize(
    ("lines", "phase"),
    [
        ([], "starting"),
        (["INFO 10-20 12:00:00 [config.py:1] Using max model len 4096"], "starting"),
        ([EAGER], "starting"),
        ([LOADING], "loading weights"),
        ([LOADING, SHARDS], "loading weights"),
        ([LOADING, WEIGHTS], "preparing the KV cache"),
        ([LOADING, WEIGHTS, COMPILING], "compiling"),
        ([LOADING, WEIGHTS, "INFO [monitor.py:5] torch.compile took 7.20 s in total"], "compiling"),
        ([LOADING, WEIGHTS, "INFO [backends.py:6] Using cache directory: c for vLLM's torch.compile"], "compiling"),
        ([LOADING, WEIGHTS, COMPILING, GRAPHS], "capturing CUDA graphs"),
        ([GRAPHS, LOADING, "something else"], "loading weights"),
    ],
)
def test_the_newest_line_that_tells_is_the_phase(lines: list[str], phase: str) -> None:
    assert log.phase("\n".join(lines)) == phase


def test_weights_took_as_long_as_the_slowest_worker() -> None:
    other = WEIGHTS.replace("7.53", "9.25")
    assert log.weights_seconds(WEIGHTS) == 7.53
    assert log.weights_seconds(f"{WEIGHTS}\n{other}\n{WEIGHTS}") == 9.25
    assert log.weights_seconds(LOADING) is None


def test_the_tail_is_the_last_lines_without_stamps(tmp_path: Path) -> None:
    file = tmp_path / "engine.log"
    file.write_text(
        "\n".join([*(f"line {n}" for n in range(40)), "", WEIGHTS, "ValueError: no", "   ", "plain 1%\rplain 2%"])
    )
    shown = log.tail(file, 5).splitlines()
    assert shown == ["line 39", "Loading weights took 7.53 seconds", "ValueError: no", "plain 1%", "plain 2%"]
    assert len(log.tail(file).splitlines()) == 20


def test_the_tail_of_an_engine_that_floods_its_output_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "engine.log"
    file.write_text("x" * 200_000 + "\nlast")
    assert log.tail(file).splitlines() == ["x" * 297 + "...", "last"]
    file.write_text("\n".join(f"{number} {'é' * 400}" for number in range(1000)))
    lines = log.tail(file).splitlines()
    assert lines[-1].startswith("999 ")
    assert {len(line) for line in lines} == {300}
    assert 4096 - 700 < len("\n".join(lines).encode()) <= 4096
    file.write_text("\N{GRINNING FACE}" * 400 + "\n" + "\n" * 5000)
    assert len(log.tail(file)) == 300


def test_a_very_long_message_of_an_exception_is_cut() -> None:
    cause = log.root_cause("ValueError: " + "x" * 5000)
    assert cause is not None
    assert (len(cause), cause[-3:]) == (1000, "...")


def test_a_log_that_is_shown_is_kept_and_named(tmp_path: Path) -> None:
    file = tmp_path / "engine.log"
    file.write_text("one\ntwo\n")
    assert log.kept_tail(file) == f"one\ntwo\nfull log: {file}"
    assert (tmp_path / "keep").exists()


def test_a_log_that_says_nothing_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "engine.log").write_text("\n")
    assert log.kept_tail(tmp_path / "engine.log") == ""
    assert log.kept_tail(tmp_path / "none") == ""
    assert not (tmp_path / "keep").exists()


def test_a_log_that_cannot_be_written_names_itself(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        log.opened(Path("/dev/full"))
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="link"):
        log.opened(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()


def test_only_what_was_written_since(tmp_path: Path) -> None:
    file = tmp_path / "engine.log"
    assert log.size(file) == 0
    file.write_text("before")
    written = log.size(file)
    file.write_text("beforeafter")
    assert log.read_end(file, since=written) == "after"
    assert log.read_end(file, most=3, since=written) == "ter"
    file.write_text("b")  # somebody emptied it
    assert log.read_end(file, since=written) == ""


def test_the_end_of_a_long_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "engine.log"
    file.write_bytes(b"x" * 100 + "é".encode() + b"end")
    assert log.read_end(file, 3) == "end"
    assert log.read_end(file, 4).endswith("end")
    assert len(log.read_end(file)) == 104


def test_where_there_is_no_file_there_is_nothing(tmp_path: Path) -> None:
    assert log.read_end(tmp_path / "none") == ""
    assert log.tail(tmp_path / "none") == ""


CORE = "(EngineCore pid=41) ERROR 10-20 12:00:13 [core.py:1165]"
NOT_FREE = "Free memory on device cuda:0 (3.1/23.6 GiB) on startup is less than desired GPU memory utilization"
POINTS = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}"


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        ([f"{CORE}   raise ValueError(", f"{CORE} ValueError: {NOT_FREE}", "Traceback", POINTS], NOT_FREE),
        (["(Worker_TP1 pid=43) torch.OutOfMemoryError: CUDA out of memory.", POINTS], "CUDA out of memory."),
        (["Exception: WorkerProc initialization failed. See stack trace for root cause.", POINTS], None),
        ([f"{CORE} KeyError: 'one'", f"{CORE} ValueError: two", POINTS], "two"),
        ([f"{CORE} no error: here", "    x = 'ValueError: quoted'"], None),
    ],
)
def test_the_root_cause_is_what_the_failing_process_said(lines: list[str], cause: str | None) -> None:
    assert log.root_cause("\n".join(lines)) == cause


def test_a_traceback_keeps_its_shape(tmp_path: Path) -> None:
    file = tmp_path / "engine.log"
    file.write_text(f"{CORE} Traceback (most recent call last):\n{CORE}   File x\n(EngineCore pid=41) ValueError: no\n")
    assert log.tail(file).splitlines() == ["Traceback (most recent call last):", "  File x", "ValueError: no"]
