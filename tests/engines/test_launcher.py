"""The launcher: one server process per interpreter and environment, and nothing left behind."""

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vllmperf.engines.child_engine import ChildEngine
from pytest_vllmperf.engines.launcher import Launcher
from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.errors import EngineStartError, ModelError, SpecError
from pytest_vllmperf.records.engine import Timeouts
from pytest_vllmperf.records.spec import EngineSpec
from tests.engines.conftest import wait_until_gone
from tests.temporary import left

CHILD = """
import os, socket, tempfile, uuid

def bound():
    # as vLLM, and then multiprocessing, make sockets
    for place in (os.environ["VLLM_RPC_BASE_PATH"], tempfile.mkdtemp(prefix="pymp-")):
        with socket.socket(socket.AF_UNIX) as made:
            try:
                made.bind(os.path.join(place, str(uuid.uuid4())))
            except OSError:
                return False
    return True

def serve(lines):
    for message in lines:
        if message["op"] == "load" and message["engine_args"].get("refuse"):
            print("no room", flush=True)
            lines.send({"error": {"type": "ValueError", "message": "refused"}})
        elif message["op"] == "load":
            lines.send({"ok": {
                "device": "cpu", "device_name": None, "max_model_len": 64, "vocab_size": 100, "special_token_ids": [],
                "prefix_caching": False, "kv_cache_tokens": None, "kv_cache_bytes": None, "versions": {},
                "resolved": {"server": os.getppid(), "WORD": os.environ.get("WORD"), "TMPDIR": os.environ["TMPDIR"],
                             "sockets": os.environ["VLLM_RPC_BASE_PATH"], "bound": bound(),
                             "compiled": os.environ.get("TORCHINDUCTOR_CACHE_DIR"),
                             "devices": os.environ.get("CUDA_VISIBLE_DEVICES")}, "load_seconds": 1.0,
                "weights": {"declared": {}, "asked": None, "resolved": None, "dummy": False, "loaded_bytes": None,
                            "layers": []},}})
        else:
            lines.send({"ok": None})
            return
"""


def quiet(doing: str, waited: float) -> None:
    pass


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "vllm.py").write_text("LLM = None\n")
    (modules / "compressed_tensors.py").write_text("")
    for name in ("torch", "accelerate", "transformers", "transformers/models", "transformers/models/auto"):
        (modules / name).mkdir(exist_ok=True)
        (modules / name / "__init__.py").write_text("")
    (modules / "transformers/models/auto/modeling_auto.py").write_text("")
    for script in ("vllmperf_offline", "vllmperf_reference"):
        (modules / f"{script}.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(modules))
    for variable in ("CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def launcher(here: Path) -> Iterator[Launcher]:
    made = Launcher(Timeouts(60, 60, 60))
    yield made
    made.close()


def start(launcher: Launcher, spec: EngineSpec, devices: str | None = None) -> dict[str, object]:
    engine = launcher.start(spec, {} if devices is None else {"CUDA_VISIBLE_DEVICES": devices}, quiet)
    assert isinstance(engine, ChildEngine)
    engine.close()
    return dict(engine.facts.resolved)


def test_a_simulated_engine_needs_no_process_and_no_folder(launcher: Launcher, here: Path) -> None:
    engine = launcher.start(EngineSpec.create("m", backend="simulated"), {}, quiet)
    assert isinstance(engine, SimulatedEngine)
    assert left(here) == []


def test_engines_of_one_interpreter_share_its_server(launcher: Launcher) -> None:
    first = start(launcher, EngineSpec.create("org/a"))
    second = start(launcher, EngineSpec.create("org/b", max_model_len=9))
    assert first["server"] == second["server"]


def test_another_environment_or_device_has_another_server(launcher: Launcher) -> None:
    plain = start(launcher, EngineSpec.create("org/a"))
    worded = start(launcher, EngineSpec.create("org/a", env={"WORD": "hello"}))
    on_gpu = start(launcher, EngineSpec.create("org/a"), "GPU-1")
    assert len({plain["server"], worded["server"], on_gpu["server"]}) == 3
    assert (plain["WORD"], worded["WORD"]) == (None, "hello")
    assert (plain["devices"], on_gpu["devices"]) == (None, "GPU-1")
    assert start(launcher, EngineSpec.create("org/a", env={"WORD": "hello"}))["server"] == worded["server"]


def test_the_reference_has_a_server_of_its_own(launcher: Launcher) -> None:
    vllm, told = start(launcher, EngineSpec.create("org/a")), []
    engine = launcher.start(EngineSpec.create("org/a", backend="transformers"), {}, lambda doing, _: told.append(doing))
    assert engine.facts.resolved["server"] != vllm["server"]
    engine.close()
    assert all("vLLM" not in doing for doing in told)


def test_what_refuses_the_reference_is_transformers(launcher: Launcher) -> None:
    with pytest.raises(EngineStartError, match="transformers refused a: refused"):
        launcher.start(EngineSpec.create("org/a", backend="transformers", refuse=True), {}, quiet)


def test_timestamps_cannot_be_switched_off(launcher: Launcher) -> None:
    with pytest.raises(SpecError, match="disable_log_stats"):
        launcher.start(EngineSpec.create("org/a", disable_log_stats=True), {}, quiet)
    assert start(launcher, EngineSpec.create("org/a", disable_log_stats=False))


def test_temporary_files_lie_in_the_launchers_folder_and_go_with_it(launcher: Launcher, here: Path) -> None:
    told = start(launcher, EngineSpec.create("org/a"))
    assert Path(str(told["TMPDIR"])).resolve().is_relative_to(launcher.folder)
    assert launcher.folder.parent == here
    launcher.close()
    assert left(here) == []
    launcher.close()


def test_sockets_work_however_long_tmpdir_is(launcher: Launcher, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = here / ("d" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    told = start(launcher, EngineSpec.create("org/a"))
    assert told["bound"] is True
    assert Path(str(told["TMPDIR"])).resolve().is_relative_to(long)  # where large files go
    sockets = Path(str(told["sockets"]))
    assert sockets.stat().st_mode & 0o777 == 0o700
    assert start(launcher, EngineSpec.create("org/a", env={"WORD": "x"}))["sockets"] == str(sockets)
    launcher.close()
    assert left(long) == []
    assert not sockets.exists()


def test_where_sockets_lie_is_the_users_to_choose(
    launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    for folder in (mine, theirs):
        folder.mkdir()
    by_spec = EngineSpec.create("org/a", env={"VLLM_RPC_BASE_PATH": str(mine), "TMPDIR": str(theirs)})
    told = start(launcher, by_spec)
    assert (told["sockets"], told["TMPDIR"]) == (str(mine), str(theirs))
    monkeypatch.setenv("VLLM_RPC_BASE_PATH", str(theirs))
    assert start(launcher, EngineSpec.create("org/a"))["sockets"] == str(theirs)


def test_what_torch_compiled_is_there_for_the_next_engine(
    launcher: Launcher, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (named,) = {start(launcher, EngineSpec.create("org/a", env=env))["compiled"] for env in ({}, {"WORD": "x"})}
    cache = Path(str(named))
    (cache / "code").write_text("")
    launcher.close()
    assert (cache / "code").exists()
    assert cache.parent == here
    # Else it is where the user says, or where torch puts it below the user's folder.
    assert start(launcher, EngineSpec.create("org/a", env={"TMPDIR": str(tmp_path)}))["compiled"] is None
    by_spec = EngineSpec.create("org/a", env={"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)})
    assert start(launcher, by_spec)["compiled"] == str(tmp_path)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    assert start(launcher, EngineSpec.create("org/a"))["compiled"] == str(tmp_path)


def test_without_a_short_place_sockets_lie_in_the_runs_folder(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_vllmperf.engines.launcher.sockets_parent", lambda places: None)
    told = start(launcher, EngineSpec.create("org/a"))
    assert told["sockets"] == str(launcher.folder)
    assert Path(str(told["TMPDIR"])).parent == launcher.folder


def test_a_temporary_folder_that_cannot_be_written_is_told(
    launcher: Launcher, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(here / "none"))
    with pytest.raises(EngineStartError) as caught:
        launcher.start(EngineSpec.create("org/a"), {}, quiet)
    assert str(caught.value).startswith(f"{here}/none/vllmperf-")
    assert str(caught.value).endswith(
        " cannot be written: No such file or directory; set TMPDIR to a folder with free space"
    )


def test_without_any_temporary_folder(launcher: Launcher, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(here / "none")])
    with pytest.raises(EngineStartError) as caught:
        launcher.start(EngineSpec.create("org/a"), {}, quiet)
    assert str(caught.value) == (
        f"the temporary folder cannot be written: No usable temporary directory found in ['{here}/none']; "
        "set TMPDIR to a folder with free space"
    )


def test_engines_that_a_thread_started_live_on(launcher: Launcher) -> None:
    told: list[dict[str, object]] = []
    thread = threading.Thread(target=lambda: told.append(start(launcher, EngineSpec.create("org/a"))))
    thread.start()
    thread.join()
    assert start(launcher, EngineSpec.create("org/b"))["server"] == told[0]["server"]


def test_every_server_is_ended_even_if_ending_one_is_interrupted(
    launcher: Launcher, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = [int(str(start(launcher, EngineSpec.create("org/a", env={"WORD": word}))["server"])) for word in "ab"]
    last = list(launcher._servers.values())[-1]
    close = last.close

    def interrupted() -> None:
        close()
        raise KeyboardInterrupt

    monkeypatch.setattr(last, "close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        launcher.close()
    for pid in pids:
        wait_until_gone(pid)
    assert left(here) == []


def test_the_log_of_an_engine_that_did_not_start_is_kept(launcher: Launcher, here: Path) -> None:
    with pytest.raises(EngineStartError, match="vLLM refused a: refused") as caught:
        launcher.start(EngineSpec.create("org/a", refuse=True), {}, quiet)
    launcher.close()
    (log,) = here.glob("vllmperf-*/engine-*.log")
    assert caught.value.log_tail == f"no room\nfull log: {log}"
    assert [entry for entry in log.parent.iterdir() if entry.is_dir()] == []  # temporary files are gone


def test_after_a_server_that_did_not_come_up_the_next_is_tried_afresh(
    launcher: Launcher, tmp_path: Path, here: Path
) -> None:
    (tmp_path / "modules" / "vllm.py").write_text("raise RuntimeError('broken')")
    with pytest.raises(EngineStartError, match="broken"):
        launcher.start(EngineSpec.create("org/a"), {}, quiet)
    (tmp_path / "modules" / "vllm.py").write_text("LLM = None  # mended\n")
    assert start(launcher, EngineSpec.create("org/a"))["server"]


def test_after_a_server_that_died_the_next_engine_gets_a_fresh_one(launcher: Launcher) -> None:
    import psutil

    first = start(launcher, EngineSpec.create("org/a"))
    server = psutil.Process(int(str(first["server"])))
    server.kill()
    while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
        pass
    assert start(launcher, EngineSpec.create("org/a"))["server"] != first["server"]


def test_close_ends_the_servers(launcher: Launcher) -> None:
    pid = int(str(start(launcher, EngineSpec.create("org/a"))["server"]))
    launcher.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_built_in_model_that_does_not_exist_starts_nothing(launcher: Launcher, here: Path) -> None:
    with pytest.raises(ModelError, match="no built-in model has the name 'huge'"):
        launcher.start(EngineSpec.create("vllmperf:huge", python=sys.executable), {}, quiet)
    assert left(here) == []


@pytest.mark.parametrize("backend", ["offline", "transformers"])
@pytest.mark.parametrize("model", ["/nowhere/model", "./nowhere", "~/nowhere-at-all", Path("org/model")])
def test_a_path_that_does_not_exist_starts_nothing(
    launcher: Launcher, here: Path, model: str | Path, backend: str
) -> None:
    with pytest.raises(ModelError, match=r"the model path .* does not exist"):
        launcher.start(EngineSpec.create(model, backend=backend), {}, quiet)
    assert left(here) == []


def test_variables_of_the_spec_decide_whether_the_hub_may_be_asked(launcher: Launcher, here: Path) -> None:
    offline = EngineSpec.create("org/a", env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(here)})
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE=1 forbids downloads"):
        launcher.start(offline, {}, quiet)
    assert left(here) == []
    assert start(launcher, EngineSpec.create("org/a"))


def test_importing_is_told(launcher: Launcher, tmp_path: Path) -> None:
    told: list[str] = []
    (tmp_path / "modules" / "vllm.py").write_text("import time\ntime.sleep(0.6)\nLLM = None\n")
    launcher.start(EngineSpec.create("org/a"), {}, lambda doing, waited: told.append(doing)).close()
    assert "importing vLLM" in told
