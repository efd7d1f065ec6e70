"""`vllmperf import` and `vllmperf export`, and `vllmperf check` of what they write."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.cli import imports
from pytest_vllmperf.storage.baselines import load
from tests.cli.conftest import Write, entry
from tests.interchange.material import REPORTS, content, encoded, run, stored, written

VLLM = [REPORTS / f"vllm-detailed-{number}.json" for number in (1, 2, 3)]


class Command:
    """The command, run in this process.

    Attributes:
        file: what it writes, unless a test says otherwise.
    """

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self._capsys = capsys
        self.file = folder / "imported.json"

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        code = cli.main([str(one) for one in arguments])
        out, err = self._capsys.readouterr()
        return code, out, err

    def take(self, *arguments: object, output: Path | None = None, name: str = "chat") -> tuple[int, str, str]:
        return self("import", *arguments, "--output", output or self.file, "--name", name)

    def refused(self, *arguments: object, **given: object) -> str:
        """The one line about an import that fails; the file stays what it was."""
        before = self.file.read_bytes() if self.file.exists() else None
        code, out, err = self.take(*arguments, **given)  # type: ignore[arg-type]
        assert (code, out) == (2, "")
        assert err.startswith("vllmperf: ")
        assert err.count("\n") == 1
        assert (self.file.read_bytes() if self.file.exists() else None) == before
        assert not list(self.file.parent.glob("*.tmp"))
        return err.removeprefix("vllmperf: ").rstrip()


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    return Command(capsys, tmp_path)


def test_a_slower_server_is_a_regression(command: Command, tmp_path: Path) -> None:
    new = tmp_path / "new.json"
    for session in range(5):
        more = ["--append"] if session else []
        files = written(tmp_path / "runs", seeds=tuple(range(3 * session, 3 * session + 3)))
        assert command.take(*files, *more)[0] == 0
    assert len(load(command.file).tests["chat"].sessions) == 5
    assert command.take(*written(tmp_path / "runs", level=1.3, seeds=(21, 22, 23)), output=new)[0] == 0
    code, out, _ = command("check", command.file, new)
    assert code == 1
    assert "REGRESSED output throughput " in out
    assert "REGRESSED TTFT p50 " in out


def test_the_same_server_is_ok(command: Command, tmp_path: Path) -> None:
    new = tmp_path / "new.json"
    for session in range(5):
        more = ["--append"] if session else []
        files = written(tmp_path / "runs", seeds=tuple(range(3 * session, 3 * session + 3)))
        assert command.take(*files, *more)[0] == 0
    assert command.take(*written(tmp_path / "runs", seeds=(21, 22, 23)), output=new)[0] == 0
    code, out, _ = command("check", command.file, new)
    assert (code, out.splitlines()[0]) == (0, "chat: OK")


def test_other_work_is_not_comparable(command: Command, tmp_path: Path) -> None:
    new = tmp_path / "new.json"
    command.take(*VLLM)
    files = []
    for seed in (1, 2, 3):
        files.append(tmp_path / f"{seed}.json")
        files[-1].write_bytes(encoded({**run(1.0, seed), "max_concurrency": 8}))
    command.take(*files, output=new)
    code, out, _ = command("check", command.file, new)
    assert code == 3
    assert "max concurrency 4 -> 8" in out


@pytest.mark.parametrize(
    ("files", "more", "tool"),
    [
        (["vllm-detailed-1.json", "vllm-detailed-2.json", "vllm-detailed-3.json"], [], "vllm bench serve"),
        (["vllm-rust-1.json", "vllm-rust-2.json", "vllm-rust-3.json"], [], "vllm-rs bench serve"),
        (["guidellm-1.json", "guidellm-2.json", "guidellm-3.json"], [], "GuideLLM"),
        (["aiperf-1", "aiperf-2", "aiperf-3"], [], "AIPerf"),
        (["inference-perf-1", "inference-perf-2", "inference-perf-3"], ["--model", "tiny"], "inference-perf"),
    ],
)
def test_each_tool_gives_a_file_that_every_command_takes(
    command: Command, files: list[str], more: list[str], tool: str
) -> None:
    code, out, err = command.take(*(REPORTS / name for name in files), *more)
    assert (code, err) == (0, "")
    gated = "output_throughput, ttft.p50, tpot.p50, e2e.p50"
    assert out == f"{command.file}: chat: 3 runs of {tool}; gated: {gated}, within 5 %\n"
    code, out, err = command("check", command.file, command.file, "--gate", "auto")
    assert (code, err) == (0, "")
    assert "TTFT p50" in out
    code, out, err = command("baseline", "show", command.file)
    assert (code, err) == (0, "")
    assert f"engine: {tool}: tiny" in out
    assert command("baseline", "diff", command.file, command.file)[0] == 0


def test_options_are_stored(command: Command) -> None:
    options = ["--gate", "itl.p50 tpot.p50", "--margin", "8% itl.p50=20%", "--profile", "H100 SXM", "--model", "llama"]
    assert command.take(*VLLM, *options)[0] == 0
    check = load(command.file).tests["chat"]
    assert check.judging.gate == ["tpot.p50", "itl.p50"]
    assert (check.judging.margin, check.judging.margins) == (0.08, {"itl.p50": 0.2})
    assert check.sessions[0].environment.hard["profile"] == "h100-sxm"
    assert check.sessions[0].environment.hard["model"] == "llama"


def test_a_file_in_the_folder_of_its_profile_is_judged_with_its_neighbours(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "baselines" / "h100"
    for name in ("a.json", "b.json"):
        files = written(tmp_path / name, seeds=(1, 2, 3))
        assert command.take(*files, "--profile", "H100", output=folder / name)[0] == 0
    code, out, _ = command("check", folder / "a.json", folder / "b.json", "--explain", "--json")
    assert code == 0
    assert json.loads(out)["basis"]["whole_profile"] is True


def test_a_file_that_is_there_is_not_replaced(command: Command, tmp_path: Path) -> None:
    command.take(*VLLM)
    files = written(tmp_path / "runs")
    assert command.refused(*files) == (
        f"--output: {command.file} exists; add to it with --append, or choose another file"
    )
    assert command.take(*files, "--append", name="other")[0] == 0
    assert command.take(*files, "--append")[0] == 0
    tests = load(command.file).tests
    assert {name: len(check.sessions) for name, check in tests.items()} == {"chat": 2, "other": 1}


def test_append_makes_a_file_that_is_not_there(command: Command) -> None:
    assert command.take(*VLLM, "--append")[0] == 0
    assert len(load(command.file).tests["chat"].sessions) == 1


def test_what_cannot_be_appended_leaves_the_file(command: Command, write: Write) -> None:
    command.take(*VLLM)
    words = command.refused(*VLLM, "--append")
    assert words == f"{command.file}: chat already holds one of these runs; each run can be appended only once"
    words = command.refused(*(REPORTS / f"guidellm-{number}.json" for number in (1, 2, 3)), "--append")
    assert words.startswith(f"{command.file}: chat cannot be appended to: backend: vllm bench serve -> GuideLLM; ")
    command.file.unlink()
    command.file.write_text('{"schema": "other"}')
    assert "not a baseline of pytest-vllmperf" in command.refused(*VLLM, "--append")


def test_few_runs_can_be_judged(command: Command, tmp_path: Path) -> None:
    command.take(*VLLM)
    new = tmp_path / "new.json"
    assert "there is 1 run; a baseline needs at least 3" in command.refused(VLLM[0], output=new)
    (slow,) = written(tmp_path / "runs", level=10, seeds=(1,))
    assert command.take(slow, "--allow", "few", output=new)[0] == 0
    assert command("check", command.file, new)[0] == 1


def test_failed_requests_are_said(command: Command) -> None:
    failed = REPORTS / "vllm-failed.json"
    words = command.refused(failed)
    assert words == f"{failed}: 3 of 12 requests failed; find out why, or accept the report with --allow failed"
    assert command.take(failed, "--allow", "failed,few")[0] == 0


def test_several_runs_of_one_file_are_a_session(command: Command, tmp_path: Path) -> None:
    appended = tmp_path / "appended.json"
    appended.write_bytes(encoded(*(run(1.0, seed) for seed in (1, 2, 3))))
    assert command.take(appended)[0] == 0
    command.file.unlink()
    appended.write_bytes(encoded(*(run(1.0, seed) for seed in (1, 2, 1))))
    assert command.refused(appended).startswith(f"{appended}, run 1 and {appended}, run 3 are the same run; ")


def test_bad_files_are_told_in_one_line(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = tmp_path / "bad.json"
    assert command.refused(bad) == f"{bad}: No such file or directory"
    bad.write_text("ttft: 7")
    assert command.refused(bad).startswith(f"{bad}: not JSON, or truncated: ")
    bad.write_bytes(content("vllm-detailed-1.json")[:-20])
    assert command.refused(*VLLM, bad).startswith(f"{bad}: not JSON, or truncated: ")
    bad.write_text("{}")
    assert command.refused(bad).startswith(f"{bad}: not a report in a supported format: vllm (")
    bad.write_bytes(encoded({**stored("vllm-detailed-1.json"), "output_throughput": float("nan")}))
    assert command.refused(bad).startswith(f"{bad}: output_throughput: nan is not a finite number")
    bad.unlink()
    bad.mkdir()
    assert command.refused(bad).startswith(f"{bad}: the folder holds no report with a known file name")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert command.refused(pipe) == f"{pipe}: it is not a regular file"
    monkeypatch.setattr(imports, "LIMIT", 100)
    assert command.refused(*VLLM).startswith(f"{VLLM[0]}: it is 1 MiB; the limit is 0 MiB; ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--format", "genai"],
            "--format: 'genai' is not valid; choose one of auto, vllm, guidellm, aiperf, inference-perf",
        ),
        (["--allow", "everything"], "--allow: 'everything' is not valid; choose one of failed, few"),
        (["--gate", "speed"], "--gate: no metric or set has the name 'speed'"),
        (["--gate", "preemptions"], "--gate: preemptions is not in all of the reports"),
        (["--margin", "wide"], "--margin: 'wide' is not a number"),
        (["--format", "aiperf"], f"{VLLM[0]}: not a report of AIPerf's profile_export_aiperf.json"),
    ],
)
def test_options_that_cannot_be_meant(command: Command, options: list[str], words: str) -> None:
    assert command.refused(*VLLM, *options).startswith(words)


def test_the_output_has_to_be_a_baseline_file(command: Command, tmp_path: Path) -> None:
    assert "its name must end in .json" in command.refused(*VLLM, output=tmp_path / "imported.txt")
    assert command.refused(*VLLM, name="  ") == "--name: give the check a name"
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert str(blocked / "a.json") in command.refused(*VLLM, output=blocked / "a.json")


def test_export_prints_an_object_for_each_engine_start(command: Command) -> None:
    command.take(*VLLM)
    code, out, err = command("export", command.file)
    assert (code, err) == (0, "")
    results = [json.loads(line) for line in out.splitlines()]
    told = [json.loads(file.read_bytes()) for file in VLLM]
    for result, one in zip(results, told, strict=True):
        assert result["median_ttft_ms"] == pytest.approx(one["median_ttft_ms"])
        assert result["total_output_tokens"] == one["total_output_tokens"]
        assert (result["completed"], result["failed"], result["label"]) == (12, 0, "chat")


def test_what_was_exported_can_be_imported_and_is_the_same(command: Command, tmp_path: Path) -> None:
    command.take(*VLLM)
    exported, again = tmp_path / "exported.jsonl", tmp_path / "again.json"
    exported.write_text(command("export", command.file)[1])
    assert command.take(exported, output=again)[0] == 0
    before, after = (load(file).tests["chat"].sessions[0] for file in (command.file, again))
    assert before.environment.hard == after.environment.hard
    for one, other in zip(before.engines, after.engines, strict=True):
        assert {name: pytest.approx(values) for name, values in one.samples.items()} == other.samples


def test_export_chooses_by_name(command: Command, write: Write) -> None:
    command.take(*VLLM)
    command.take(*VLLM, "--append", name="other")
    assert len(command("export", command.file)[1].splitlines()) == 6
    lines = command("export", command.file, "--name", "other")[1].splitlines()
    assert {json.loads(line)["label"] for line in lines} == {"other"}
    code, out, err = command("export", command.file, "--name", "othr")
    assert (code, out) == (2, "")
    assert err == f"vllmperf: {command.file} has no check 'othr'; did you mean 'other'?\n"


def test_export_of_what_has_no_result(command: Command, write: Write, tmp_path: Path) -> None:
    ours = write("ours.json", test_x=entry())
    assert command("export", ours)[::2] == (
        2, "vllmperf: test_x: no request throughput was measured, which a result of vllm bench serve must contain\n",
    )  # fmt: skip
    assert command("export", write("none.json"))[0] == 2
    assert command("export", tmp_path / "missing.json")[0] == 2
    assert (
        "--to: 'csv' is not valid; choose one of vllm, pytest-benchmark, bmf"
        in command("export", ours, "--format", "csv")[2]
    )
