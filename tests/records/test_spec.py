"""`EngineSpec`: what a marker was given, and which specs are one engine."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.records.spec import EngineSpec

relaxed = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])

_RESERVED = {"model", "backend", "python", "env", "per_gpu", "cls", "self"}
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True).filter(lambda name: name not in _RESERVED)
arguments = st.dictionaries(names, json_values, max_size=4)
GPU = "NVIDIA GeForce RTX 4060"
# Regular expressions, some of which are found in that name.
patterns = st.sampled_from(["RTX 4060", "rtx", "GEFORCE.*60$", "", "4090|H200", "^RTX", "H200"])
by_gpu = st.dictionaries(patterns, arguments, max_size=4)


@relaxed
@given(arguments)
def test_engine_arguments_come_back_untouched(engine_args: dict[str, Any]) -> None:
    assert EngineSpec.create("org/model", **engine_args).args == engine_args


@relaxed
@given(arguments, st.randoms(use_true_random=False))
def test_the_order_of_arguments_makes_no_other_engine(engine_args: dict[str, Any], random: Any) -> None:
    shuffled = list(engine_args.items())
    random.shuffle(shuffled)
    one, other = EngineSpec.create("m", **engine_args), EngineSpec.create("m", **dict(shuffled))
    assert one == other
    assert hash(one) == hash(other)
    assert one.key == other.key


@relaxed
@given(arguments, arguments)
def test_specs_share_a_key_exactly_when_they_are_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    a, b = EngineSpec.create("m", **one), EngineSpec.create("m", **other)
    assert (a.key == b.key) == (a == b)


@relaxed
@given(arguments, by_gpu)
def test_on_a_gpu_all_patterns_that_match_count_in_their_order(own: dict[str, Any], per_gpu: dict[str, Any]) -> None:
    spec = EngineSpec.create("m", per_gpu=per_gpu, **own)
    expected = dict(own)
    for pattern, arguments_there in per_gpu.items():
        if pattern in ("RTX 4060", "rtx", "GEFORCE.*60$", ""):
            expected |= arguments_there
    assert spec.on(GPU) == EngineSpec.create("m", **expected)
    assert spec.on(GPU).on("NVIDIA H200") == spec.on(GPU)
    assert spec.on(None) == EngineSpec.create("m", **own)
    assert spec.args == own


@relaxed
@given(by_gpu, by_gpu)
def test_arguments_by_gpu_are_part_of_what_an_engine_is(one: dict[str, Any], other: dict[str, Any]) -> None:
    a, b = EngineSpec.create("m", per_gpu=one), EngineSpec.create("m", per_gpu=other)
    same = json.dumps(list(one.items()), sort_keys=True) == json.dumps(list(other.items()), sort_keys=True)
    assert (a == b) == (a.key == b.key) == same
    assert not same or hash(a) == hash(b)


def test_the_pattern_written_later_counts() -> None:
    spec = EngineSpec.create("m", per_gpu={"RTX": {"a": 1, "b": 1}, "4060": {"b": 2}}, b=0, c=0)
    assert spec.on(GPU).args == {"a": 1, "b": 2, "c": 0}
    assert spec.on("NVIDIA RTX A6000").args == {"a": 1, "b": 1, "c": 0}
    swapped = EngineSpec.create("m", per_gpu={"4060": {"b": 2}, "RTX": {"a": 1, "b": 1}}, b=0, c=0)
    assert swapped.on(GPU).args == {"a": 1, "b": 1, "c": 0}
    assert swapped != spec


def test_on_keeps_all_but_the_arguments() -> None:
    spec = EngineSpec.create("m", backend="transformers", python="/bin/sh", env={"A": "1"}, per_gpu={"RTX": {"a": 1}})
    expected = EngineSpec.create("m", backend="transformers", python="/bin/sh", env={"A": "1"}, a=1)
    assert spec.on(GPU) == expected


@pytest.mark.parametrize("nothing", [None, {}])
def test_no_arguments_by_gpu_is_the_plain_engine(nothing: Any) -> None:
    assert EngineSpec.create("m", per_gpu=nothing, a=1) == EngineSpec.create("m", a=1)


def test_arguments_by_gpu_may_hold_what_arguments_may() -> None:
    spec = EngineSpec.create("m", per_gpu={"RTX": {"tokenizer": Path("/models/tok"), "b": {"y": 1, "x": None}}})
    assert spec.on(GPU).args == {"tokenizer": "/models/tok", "b": {"x": None, "y": 1}}


@pytest.mark.parametrize(
    ("per_gpu", "line"),
    [
        ("RTX", "per_gpu must map patterns for GPU names to engine arguments, not 'RTX'"),
        ([("RTX", {})], "per_gpu must map patterns for GPU names to engine arguments, not [('RTX', {})]"),
        (False, "per_gpu must map patterns for GPU names to engine arguments, not False"),
        ({4060: {}}, "per_gpu[4060]: the pattern for GPU names must be a string"),
        ({b"RTX": {}}, "per_gpu[b'RTX']: the pattern for GPU names must be a string"),
        ({"RTX": {}, "RTX (": {}}, "per_gpu['RTX (']: not a regular expression: missing ), unterminated*"),
        ({"R{99999999999999}": {}}, "per_gpu['R{99999999999999}']: not a regular expression: *too large"),
        ({"RTX": None}, "per_gpu['RTX'] must map names of engine arguments to values, not None"),
        ({"RTX": [("a", 1)]}, "per_gpu['RTX'] must map names of engine arguments to values, not [('a', 1)]"),
        ({"RTX": {1: 2}}, "per_gpu['RTX']: 1 is not the name of an engine argument"),
        ({"RTX": {"env": {"A": "1"}}}, "per_gpu['RTX']: 'env' is not an engine argument and cannot differ by GPU"),
        ({"RTX": {"per_gpu": {}}}, "per_gpu['RTX']: 'per_gpu' is not an engine argument and cannot differ by GPU"),
        ({"RTX": {"a": {1}}}, "per_gpu['RTX']: engine argument a={1} cannot be passed to another process: *"),
    ],
)
def test_arguments_by_gpu_that_cannot_be_meant(per_gpu: Any, line: str) -> None:
    with pytest.raises(SpecError) as caught:
        EngineSpec.create("m", per_gpu=per_gpu)
    start, star, end = line.partition("*")
    assert str(caught.value).startswith(start)
    assert str(caught.value).endswith(end)
    assert star or str(caught.value) == line
    assert "\n" not in str(caught.value)


def test_nested_dictionaries_are_ordered_too() -> None:
    one = EngineSpec.create("m", compilation_config={"level": 3, "mode": {"b": 1, "a": 2}})
    other = EngineSpec.create("m", compilation_config={"mode": {"a": 2, "b": 1}, "level": 3})
    assert one.key == other.key


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "other"},
        {"backend": "simulated"},
        {"python": "/bin/sh"},
        {"env": {"VLLM_USE_V1": "1"}},
        {"max_model_len": 2048},
    ],
)
def test_every_part_makes_another_engine(changed: dict[str, Any]) -> None:
    plain = EngineSpec.create("m", max_model_len=4096)
    other = EngineSpec.create(**{"model": "m", "max_model_len": 4096, **changed})
    assert other != plain
    assert other.key != plain.key


def test_key_is_twelve_hexadecimal_digits() -> None:
    key = EngineSpec.create("m").key
    assert len(key) == 12
    int(key, 16)


def test_the_default_is_the_offline_engine_of_this_interpreter() -> None:
    spec = EngineSpec.create("m")
    assert (spec.backend, spec.python, spec.env) == ("offline", sys.executable, ())


def test_args_are_a_fresh_dictionary_at_every_call() -> None:
    spec = EngineSpec.create("m", a=[1])
    spec.args["a"].append(2)
    assert spec.args == {"a": [1]}


def test_paths_are_taken_for_models_and_arguments() -> None:
    spec = EngineSpec.create(Path("/models/llama"), tokenizer=Path("/models/tok"))
    assert spec.model == "/models/llama"
    assert spec.args == {"tokenizer": "/models/tok"}


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("nope", "./nope"),
        ("owner/name", "./owner/name"),
        ("../models/x", "../models/x"),
        ("~/models/x", "~/models/x"),
        ("/models/x", "/models/x"),
        (".hidden", "./.hidden"),
    ],
)
def test_a_path_stays_one_and_is_no_hub_name(path: str, model: str) -> None:
    assert EngineSpec.create(Path(path)).model == model
    assert EngineSpec.create(path).model == path
    assert EngineSpec.create(Path(path)).name == EngineSpec.create(path).name


def test_a_path_object_that_holds_bytes_is_refused() -> None:
    class Bytes:
        def __fspath__(self) -> bytes:
            return b"model"

    with pytest.raises(SpecError, match="the model must be a path or a name"):
        EngineSpec.create(Bytes())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("/models/Meta-Llama-3-8B/", "Meta-Llama-3-8B"),
        ("meta-llama/Meta-Llama-3-8B", "Meta-Llama-3-8B"),
        ("vllmperf:tiny", "vllmperf:tiny"),
    ],
)
def test_name_is_the_last_part(model: str, name: str) -> None:
    assert EngineSpec.create(model).name == name


def test_label_is_for_a_person() -> None:
    spec = EngineSpec.create("meta-llama/Meta-Llama-3-8B", quantization="awq", max_model_len=4096)
    assert spec.label == "Meta-Llama-3-8B max_model_len=4096 quantization=awq"
    by_gpu = EngineSpec.create("m", per_gpu={"RTX": {"max_model_len": 1024}}, dtype="half")
    assert (by_gpu.label, by_gpu.on(GPU).label) == ("m dtype=half", "m dtype=half max_model_len=1024")


def test_a_label_is_one_line_whatever_an_argument_holds() -> None:
    spec = EngineSpec.create("m", chat_template="{% for m in messages %}\n  {{ m }}\n{% endfor %}")
    assert spec.label == "m chat_template={% for m in messages %} {{ m }} {% endfor %}"


def test_with_args_changes_some_and_keeps_the_others() -> None:
    spec = EngineSpec.create("m", a=1, b=2)
    assert spec.with_args(b=3, c=None).args == {"a": 1, "b": 3, "c": None}
    assert spec.args == {"a": 1, "b": 2}
    assert spec.with_args(a=1) == spec
    by_gpu = EngineSpec.create("m", per_gpu={"RTX": {"a": 2}}, a=1)
    assert by_gpu.with_args(b=3).on(GPU).args == {"a": 2, "b": 3}


def test_a_relative_interpreter_becomes_absolute_without_following_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    assert EngineSpec.create("m", python="bin/python").python == str(tmp_path / "bin" / "python")


def test_an_interpreter_is_found_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "python-of-old").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert EngineSpec.create("m", python="python-of-old").python == str(tmp_path / "python-of-old")


@pytest.mark.parametrize(
    ("given_", "named"),
    [
        ({"model": ""}, "''"),
        ({"model": 7}, "7"),
        ({"python": "/nowhere/python"}, "/nowhere/python"),
        ({"python": ""}, "python=''"),
        ({"env": {"CUDA_VISIBLE_DEVICES": 0}}, "CUDA_VISIBLE_DEVICES"),
        ({"env": ["A=1"]}, "env"),
        ({"python": 3.11}, "python=3.11"),
        ({"quantization": {1, 2}}, "quantization"),
        ({"dtype": object}, "dtype"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(given_: dict[str, Any], named: str) -> None:
    with pytest.raises(SpecError) as caught:
        EngineSpec.create(**{"model": "m", **given_})
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recursive_argument_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(SpecError, match="hf_overrides"):
        EngineSpec.create("m", hf_overrides=loop)


def test_engine_args_are_canonical_json() -> None:
    assert json.loads(EngineSpec.create("m", b=1, a=2).engine_args) == {"a": 2, "b": 1}
    assert EngineSpec.create("m", b=1, a=2).engine_args == '{"a": 2, "b": 1}'


def test_an_engine_cannot_choose_gpus_that_the_run_has_not_leased() -> None:
    with pytest.raises(
        SpecError,
        match=r"^env\['CUDA_VISIBLE_DEVICES'\] cannot be set for a single engine; set "
        "it for",
    ):
        EngineSpec.create("m", env={"CUDA_VISIBLE_DEVICES": "1"})
