"""`vllmperf kernels`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.records.kernels import KernelTime
from pytest_vllmperf.records.samples import EngineSamples, Entry, Environment, Judging, Session
from tests.cli.conftest import Write
from tests.profiling import FLASH, KERNELS, MATMUL, ROPE, profiled, slower, table, unprofiled

H100, H200 = "NVIDIA H100 80GB HBM3", "NVIDIA H200"
BEFORE = profiled(table(*KERNELS))
AFTER = profiled(table(slower(FLASH, 0.0119), MATMUL, ROPE))


def entry(*engines: EngineSamples, gpu: str = H200, older: EngineSamples = BEFORE) -> Entry:
    """A check whose newest session holds these engines."""
    sessions = [
        Session(recorded=f"2026-01-0{day}T00:00:00", environment=Environment(hard={"gpu": gpu}, soft={}), engines=some)
        for day, some in ((1, [older]), (2, list(engines)))
    ]
    return Entry(engine="m", workload={}, judging=Judging(gate=["gpu_time"], margin=0.05), sessions=sessions)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.main(["kernels", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_one_file(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    file = write("a.json", test_x=entry(BEFORE, BEFORE, older=AFTER))
    assert run(capsys, file) == (
        0,
        """\
test_x
  NVIDIA H200, session of 2026-01-02, mean of 2 engines
  kernel              times       ms    share
  nvjet_sm90 72x64   14,336  140.000     46 %
  flash_fwd           1,792  126.400     41 %
  rms_norm           34,228   40.000     13 %
  total              50,356  306.400    100 %
""",
        "",
    )
    out = run(capsys, file, "--top", 1)[1]
    assert [line.split() for line in out.splitlines()[3:]] == [
        ["nvjet_sm90", "72x64", "14,336", "140.000", "46", "%"],
        ["all", "others", "36,020", "166.400", "54", "%"],
        ["total", "50,356", "306.400", "100", "%"],
    ]


def test_two_files(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    files = write("a.json", test_x=entry(BEFORE)), write("b.json", test_x=entry(AFTER), test_y=entry(AFTER))
    code, out, err = run(capsys, *files)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:3] == [
        "test_x",
        "  before: NVIDIA H200, session of 2026-01-02",
        "  after: NVIDIA H200, session of 2026-01-02",
    ]
    assert lines[3].startswith("  GPU time 306.4 -> 279.5 ms  -8.8 % [")
    assert lines[4:] == [
        "  kernel                       times                  ms    change",
        "  nvjet_sm90 72x64            14,336  140.000 -> 140.000    +0.000  +0.0 %",
        "  flash_fwd                    1,792  126.400 -> 138.300   +11.900  +9.4 %",
        "  rms_norm                    34,228              40.000   -40.000    gone",
        "  rope_kernel_v2               3,584               1.200    +1.200     new",
        "  total             50,356 -> 19,712  306.400 -> 279.500   -26.900  -8.8 %",
        "test_y: only in one of the files",
    ]
    assert max(map(len, lines)) <= 80
    assert "test_y" not in run(capsys, *files, "--test", "test_x")[1]


def test_two_kinds_of_hardware_are_compared_by_name_without_an_interval(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write("a.json", test_x=entry(BEFORE, gpu=H100)), write("b.json", test_x=entry(AFTER))
    lines = [line.strip() for line in run(capsys, a, b)[1].splitlines()]
    assert "GPU time 306.4 -> 279.5 ms  -8.8 %" in lines
    assert "flash_fwd                    1,792  126.400 -> 138.300   +11.900  +9.4 %" in lines
    assert lines[-1] == f"the hardware differs: {H100} -> {H200}"


def test_kernels_that_may_be_among_the_others_are_told(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    border = [KernelTime(f"border_{n}", 7, 0.001) for n in range(7)]
    a = write("a.json", test_x=entry(profiled(table(FLASH, rest=0.02), factor=1.0)))
    b = write("b.json", test_x=entry(profiled(table(FLASH, *border, rest=0.013))))
    told = " ".join(run(capsys, a, b)[1].split())
    assert "all others 10 -> 59 20.000 -> 20.000 +0.000 +0.0 %" in told
    assert "not listed, because they are not among the largest of every engine: border_0, border_1," in told
    assert told.endswith("2 more")


def test_kernels_of_several_gpus(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    file = write("a.json", test_x=entry(profiled(table(FLASH), table(FLASH))))
    for files in ([file], [file, file]):
        lines = run(capsys, *files)[1].splitlines()
        assert lines[-1] == "  kernels of 2 GPUs together; GPU time is that of the GPU with the largest"
        assert lines[-2].split()[:3] == ["total", "3,584", "252.800"]


def test_long_names_have_what_the_terminal_leaves(
    write: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = KernelTime("triton_red_fused__to_copy_add_mean_mul_pow_rsqrt_12_and_so_on", 3, 0.1)
    file = write("a.json", test_x=entry(profiled(table(long))))
    narrow = run(capsys, file, file)[1].splitlines()
    assert max(map(len, narrow)) <= 80
    assert any(line.split()[0].startswith("triton_red_") and "…" in line for line in narrow)
    monkeypatch.setenv("COLUMNS", "120")
    assert any(long.name in line for line in run(capsys, file, file)[1].splitlines())


def test_a_check_without_a_pass_is_left_out_where_another_has_one(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write("a.json", test_x=entry(unprofiled("MIG")), test_y=entry(BEFORE))
    code, out, _ = run(capsys, file)
    assert code == 0
    assert out.startswith("test_y\n")
    assert " ".join(out.split()).endswith(f"left out: {file}: test_x has no device pass: MIG")


def test_for_a_program(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write("a.json", test_x=entry(BEFORE)), write("b.json", test_x=entry(AFTER))
    one = json.loads(run(capsys, a, "--json")[1])["test_x"]
    assert one["kernels"][0] == {"name": "nvjet_sm90 72x64", "times": 14336, "seconds": 0.14}
    assert one["others"] == {"name": "others", "times": 0, "seconds": 0}
    both = json.loads(run(capsys, a, b, "--json", "--top", 1)[1])["test_x"]
    assert [one["name"] for one in both["kernels"]] == ["rms_norm", "flash_fwd", "rope_kernel_v2", "nvjet_sm90 72x64"]
    assert both["kernels"][2] == {
        "name": "rope_kernel_v2",
        "seen": "new",
        "times": {"before": 0, "after": 3584},
        "seconds": {"before": 0, "after": 0.0012},
    }
    assert both["gpu_time"] == {"before": pytest.approx(0.3064), "after": pytest.approx(0.2795)}
    assert both["interval"]["low"] < both["interval"]["change"] < both["interval"]["high"]


def test_bad_input_is_one_line(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write("a.json", test_x=entry(BEFORE)), write("b.json", test_y=entry(unprofiled("MIG")))
    c, empty = write("c.json", test_x=entry(unprofiled(""))), write("empty.json")
    (text := tmp_path / "text.json").write_text("{}", encoding="utf-8")
    for arguments, said in (
        ([tmp_path / "nowhere.json"], f"{tmp_path / 'nowhere.json'}: no such file"),
        ([a, tmp_path / "nowhere.json"], f"{tmp_path / 'nowhere.json'}: no such file"),
        ([text], f"{text}: "),
        ([a, b], f"{a} and {b} have no check in common"),
        ([b], f"{b}: test_y has no device pass: MIG"),
        ([a, c], f"{c}: test_x has no device pass"),
        ([empty], f"{empty}: holds no check"),
        ([a, "--test", "test_xx"], f"{a} has no check 'test_xx'; did you mean 'test_x'?"),
        ([a, "--test", "latency"], f"{a} has no check 'latency'; it has test_x"),
        ([a, "--top", "0"], "--top is 0; it must be at least 1"),
    ):
        code, out, err = run(capsys, *arguments)
        assert (code, out) == (2, "")
        assert err.startswith(f"vllmperf: {said}")
        assert err.count("\n") == 1
