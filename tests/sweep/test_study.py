"""A study's TOML file: what it means, and one line about each thing that is wrong with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_vllmperf.errors import SpecError, VllmPerfError, WorkloadError
from pytest_vllmperf.sweep.space import Point
from pytest_vllmperf.sweep.study import LEFT_OUT, read
from tests import needs
from tests.sweep.conftest import ENGINE, WORKLOAD, Write


def test_axes_are_engine_arguments_or_settings_of_the_workload(write: Write) -> None:
    study = read(write(max_num_seqs="[4, 8]", concurrency="[1, 2]", prefix_share="[0, 0.5]"))
    point = Point.of({"max_num_seqs": 8, "concurrency": 2, "prefix_share": 0.5})
    assert study.spec_of(point).args == {"max_num_seqs": 8}
    workload = study.workload_of(point)
    assert (workload.concurrency, workload.shared_prefix_tokens, workload.input_tokens) == (2, 4, 8)
    assert study.space.count == 8
    assert study.measuring.device_pass == 0


def test_lengths_are_ranges_and_histograms_too(write: Write) -> None:
    study = read(write(input_tokens="[8, [4, 16], {8 = 1, 16 = 3}]"))
    found = [study.workload_of(point).input_tokens for point in study.space.points({})]
    assert found == [8, (4, 16), ((8, 0.25), (16, 0.75))]


def test_an_argument_can_be_left_out(write: Write) -> None:
    study = read(write(max_num_seqs=f'[4, "{LEFT_OUT}"]'))
    assert [study.spec_of(point).args for point in study.space.points({})] == [{"max_num_seqs": 4}, {}]


def test_all_of_a_prompt_in_common_leaves_it_a_token_of_its_own(write: Write) -> None:
    study = read(write(prefix_share="[1]"))
    assert study.workload_of(Point.of({"prefix_share": 1})).shared_prefix_tokens == 7


def test_results_lie_beside_the_file_or_where_it_says(write: Write, tmp_path: Path) -> None:
    assert read(write(concurrency="[1]")).results == tmp_path / "study.results.json"
    assert read(write('results = "kept.json"', concurrency="[1]")).results == tmp_path / "kept.json"
    assert read(write(concurrency="[1]"), tmp_path / "x.json").results == tmp_path / "x.json"


def test_another_study_has_another_key(write: Write, tmp_path: Path) -> None:
    first = read(write(concurrency="[1, 2]"))
    assert read(write(concurrency="[1, 2]"), tmp_path / "elsewhere.json").key == first.key
    assert read(write(concurrency="[1, 4]")).key != first.key
    assert read(write(concurrency="[1, 2]", workload=WORKLOAD.replace("8", "9"))).key != first.key
    assert read(write(concurrency="[1, 2]", engine=f"{ENGINE}seed = 1")).key != first.key


BAD = {
    "not TOML": ("[[[", "not TOML"),
    "no axis": ("", r"the grid is empty: there is no \[\[axis\]\]"),
    "an axis without values": ('[[axis]]\nname = "concurrency"\nvalues = []', "the grid is empty: axis 'concurrency'"),
    "an axis twice": ('[[axis]]\nname = "a"\nvalues = [1]\n' * 2, "axis 'a' is there twice"),
    "a value twice": ('[[axis]]\nname = "a"\nvalues = [1, 1]', "the value 1 is there twice"),
    "an axis without a name": ("[[axis]]\nvalues = [1]", "axis.0.name is missing"),
    "an entry of an axis": ('[[axis]]\nname = "a"\nvalue = [1]\nvalues = [1]', "no entry axis.0.value; did you mean"),
    "values that are no list": ('[[axis]]\nname = "a"\nvalues = 3', "axis.0.values: input should be a valid list"),
    "a date": ('[[axis]]\nname = "a"\nvalues = [2026-01-01]', "a value is a date"),
    "not a number": ('[[axis]]\nname = "a"\nvalues = [nan]', "or no finite number"),
    "a secret": ('[[axis]]\nname = "hf_token"\nvalues = ["x"]', "a secret cannot be varied"),
    "the environment": ('[[axis]]\nname = "env"\nvalues = [{}]', "this cannot be varied"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_line_says_what_is_wrong_with_the_axes(name: str, write: Write) -> None:
    text, expected = BAD[name]
    path = write()
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")
    with pytest.raises(SpecError, match=expected) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


TOP = {
    'mode = "gird"': "mode: input should be 'grid' or 'one-at-a-time'",
    'stage = ["concurrency"]': "there is no entry stage; did you mean 'stages'",
    'stages = ["concurency"]': "'concurency' is no [[axis]]; did you mean 'concurrency'",
    'stages = ["concurrency", "concurrency"]': "an axis is there twice",
    'stages = ["concurrency"]\nmode = "one-at-a-time"': "exclude each other",
    'metric = "throughput"': "no metric is called 'throughput'",
    "replicates = -1": "replicates: input should be greater than or equal to 0",
    'allow = ["preemtions"]': "did you mean 'preemptions'",
}


@pytest.mark.parametrize("top", TOP)
def test_one_line_says_what_is_wrong_with_the_rest(top: str, write: Write) -> None:
    with pytest.raises(SpecError, match=re.escape(TOP[top])):
        read(write(top, concurrency="[1, 2]"))


WORKLOADS = {
    "requests = 4\ninput_tokens = 8": "says no output_tokens",
    WORKLOAD + "input_token = 3": "no setting 'input_token'; did you mean 'input_tokens'",
    WORKLOAD.replace("32", "2"): "concurrency=8 is more than requests=2",
    WORKLOAD + "rate = 3": "axis 'concurrency' and workload.rate exclude each other",
}


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_workload_that_cannot_be_sent_is_refused_before_a_start(workload: str, write: Write) -> None:
    with pytest.raises(VllmPerfError, match=WORKLOADS[workload]):
        read(write(workload=workload, concurrency="[1, 8]"))


def test_each_value_of_a_workload_axis_is_tried(write: Write) -> None:
    with pytest.raises(WorkloadError, match="concurrency=0"):
        read(write(concurrency="[1, 2, 0]"))
    with pytest.raises(WorkloadError, match="needs a server"):
        read(write(rate="[1.5]"))


@needs.VLLM
def test_an_axis_that_vllm_does_not_know_is_refused_with_the_nearest_that_is_meant(write: Write) -> None:
    offline = 'model = "vllmperf:tiny"\n'
    with pytest.raises(SpecError, match=r"no engine argument 'max_num_sequences' \(did you mean max_num_seqs\?\)"):
        read(write(engine=offline, max_num_sequences="[1]"))
    with pytest.raises(SpecError, match="did you mean 'concurrency'"):
        read(write(engine=offline, concurency="[1]"))


def test_two_axes_that_set_the_same_are_refused(write: Write) -> None:
    with pytest.raises(SpecError, match="prefix_share and shared_prefix_tokens cannot both be axes"):
        read(write(prefix_share="[0]", shared_prefix_tokens="[0]"))


def test_many_points_need_a_word(write: Write) -> None:
    lists = {f"a{number}": str(list(range(10))) for number in range(3)}
    path = write(**lists, seed=str(list(range(11))))
    with pytest.raises(SpecError, match="it has 11,000 points, more than 10,000; add --yes"):
        read(path)
    assert read(path, many=True).space.count == 11_000


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"none.toml: cannot be read: No such file"):
        read(tmp_path / "none.toml")


def test_numbers_are_numbers(write: Write) -> None:
    path = write(concurrency="[1]")
    text = path.read_text(encoding="utf-8")
    for wrong in ("true", "1.5", "-1", '"x"'):
        path.write_text(text.replace("warmup = 0", f"warmup = {wrong}"), encoding="utf-8")
        with pytest.raises(SpecError, match=r"warmup: .* is not a whole number of at least 0"):
            read(path)
        path.write_text(text.replace("iterations = 3", f"iterations = {wrong}"), encoding="utf-8")
        with pytest.raises(SpecError, match="iterations: "):
            read(path)


def test_a_name_that_no_argument_can_have(write: Write) -> None:
    with pytest.raises(SpecError, match="no engine argument 'cls'"):
        read(write(engine=f"{ENGINE}cls = 1", concurrency="[1]"))


def test_each_backend_is_tried(write: Write) -> None:
    with pytest.raises(SpecError, match="backend='nope' does not exist"):
        read(write(backend='["simulated", "nope"]'))
