"""The fingerprint: what must match, what is told, and what is kept out of a shared file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_vllmperf.engines.backends import BACKENDS
from pytest_vllmperf.gpu import GpuDevice
from pytest_vllmperf.lab import environment
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.records.engine import EngineFacts
from pytest_vllmperf.records.host import HostUse
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.records.variables import VariablesKey
from pytest_vllmperf.storage.names import slug
from pytest_vllmperf.verdict.comparability import differences
from pytest_vllmperf.workload import Workload
from tests.lab.fingerprints import CPU, CUDA, GPU, SPEC, WORKLOAD, hard, soft

relaxed = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
VLLM = BACKENDS.of(SPEC)


@pytest.mark.parametrize(
    "changed",
    [
        {"workload": Workload.synthetic(requests=3, input_tokens=4, output_tokens=2)},
        {"digest": "other"},
        {"facts": CPU},
        {"gpus": (replace(GPU, name="NVIDIA A100"),)},
        {"gpus": (replace(GPU, total_bytes=80 * 2**30),)},
        {"gpus": (replace(GPU, compute_capability=(8, 0)),)},
        {"gpus": (GPU, GPU)},
        {"spec": EngineSpec.create("org/model", backend="simulated", max_model_len=4096)},
    ],
)
def test_other_hardware_another_model_and_other_work_cannot_be_compared(changed: dict[str, Any]) -> None:
    assert differences(hard(), hard(**changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"spec": SPEC.with_args(max_model_len=2048)},
        {"spec": SPEC.with_args(quantization="awq")},
        {"facts": replace(CUDA, versions={"vllm": "0.33.0", "torch": "2.13.0"})},
        {"facts": replace(CUDA, resolved={"dtype": "float16"})},
        {"gpus": (replace(GPU, driver="570.1"),)},
        {"gpus": (replace(GPU, cuda="12.8"),)},
        {"gpus": (replace(GPU, power_limit=400.0),)},
    ],
)
def test_versions_arguments_and_driver_are_told_and_compared_all_the_same(changed: dict[str, Any]) -> None:
    assert hard(**changed) == hard()
    assert differences(soft(), soft(**changed))


@pytest.mark.parametrize(
    ("gpus", "told"),
    [
        ((), {}),
        ((GPU,), {"driver": "565.57.01", "driver's CUDA": "12.7", "gpu power limit": "700 W"}),
        ((replace(GPU, cuda="", power_limit=None),), {"driver": "565.57.01"}),
        (
            (GPU, replace(GPU, power_limit=None), replace(GPU, power_limit=412.5)),
            {"driver": "565.57.01", "driver's CUDA": "12.7", "gpu power limit": "700 W, 412.5 W"},
        ),
    ],
)
def test_what_may_change_on_one_card_is_told_where_it_is_known(
    gpus: tuple[GpuDevice, ...], told: dict[str, str]
) -> None:
    found = soft(gpus=gpus)
    assert {name: value for name, value in found.items() if name.startswith(("driver", "gpu"))} == told


def test_the_machine_is_told_in_coarse_words_where_hardware_counts() -> None:
    hosts = [HostUse(0.3, 0.0, 3.7e9), None]
    found = environment.fingerprint(Target(SPEC), WORKLOAD, CUDA, (GPU,), "d", hosts=hosts).soft
    told = {name: value for name, value in found.items() if name.startswith("host")}
    assert told == {"host load": "in use", "host steal": "none", "host CPU frequency": "3.7 GHz"}
    assert {name: value for name, value in found.items() if name not in told} == soft()
    scripted = EngineSpec.create("org/model", backend="simulated")
    assert "host load" not in environment.fingerprint(Target(scripted), WORKLOAD, CUDA, (), "d", hosts=hosts).soft


def test_a_part_of_a_gpu_is_another_device() -> None:
    part = replace(GPU, name="NVIDIA H200 MIG 1g.18gb", total_bytes=16 * 2**30, mig=True)
    assert differences(hard(), hard(gpus=(part,)))
    assert environment.profile(VLLM, CUDA, (part,)) == "nvidia-h200-mig-1g.18gb"  # though vLLM calls it NVIDIA H200


@pytest.mark.parametrize(
    ("mebibytes", "told"), [(143771, "140 GiB"), (143171, "140 GiB"), (24564, "24 GiB"), (16384, "16 GiB")]
)
def test_memory_is_told_in_whole_gibibytes(mebibytes: int, told: str) -> None:
    card = replace(GPU, total_bytes=mebibytes * 2**20)
    assert hard(gpus=(card,))["gpu memory"] == told
    assert hard(gpus=(card, card))["gpu memory"] == f"{told}, {told}"


def test_the_same_card_at_another_place_is_the_same() -> None:
    assert hard(gpus=(replace(GPU, uuid="GPU-2"),)) == hard()
    assert soft(gpus=(replace(GPU, uuid="GPU-2"),)) == soft()


def test_a_cpu_is_told_by_model_cores_and_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    told = "processor\t: 0\nmodel name\t: AMD EPYC 9654\nflags\t\t: fpu avx2 avx512f amx_int8\n\nmodel name\t: other\n"
    monkeypatch.setattr(Path, "read_text", lambda self: told)
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    found = hard(facts=CPU, gpus=())
    assert found["cpu"] == "AMD EPYC 9654"
    assert found["cpu cores"] == "16"
    assert found["cpu instructions"] == "avx2 avx512f amx_int8"
    assert not any(key.startswith("gpu") for key in found)
    assert environment.profile(VLLM, CPU, ()) == "amd-epyc-9654-16-cores"


def test_a_machine_without_cpuinfo_has_a_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: Path) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert environment.profile(VLLM, CPU, ()) == "riscv64-4-cores"
    assert hard(facts=CPU, gpus=())["cpu instructions"] == ""


@pytest.mark.parametrize(
    ("facts", "gpus", "name"),
    [
        (CUDA, (GPU,), "nvidia-h200"),
        (CUDA, (GPU, GPU), "2-x-nvidia-h200"),
        (replace(CUDA, device_name=None), (GPU,), "nvidia-h200"),
        (CUDA, (), "nvidia-h200"),
        (replace(CUDA, device_name=None), (), "gpu"),
    ],
)
def test_profile_is_the_folder_of_this_hardware(facts: EngineFacts, gpus: Any, name: str) -> None:
    assert environment.profile(VLLM, facts, gpus) == name


@pytest.mark.parametrize(
    ("facts", "gpus"), [(replace(CUDA, device_name=None), (GPU,)), (CPU, ()), (replace(CPU, device="simulated"), ())]
)
def test_of_an_engine_by_a_script_no_hardware_is_named(facts: EngineFacts, gpus: Any) -> None:
    spec = EngineSpec.create("org/model", backend="simulated")
    assert environment.profile(BACKENDS.of(spec), facts, gpus) == "simulated"
    assert set(hard(spec=spec, facts=facts, gpus=gpus)) == {"backend", "device", "model", "workload"}


def test_an_endpoints_profile_is_its_name_alone() -> None:
    spec = EngineSpec.create("m", backend="endpoint", url="http://127.0.0.1:8000/v1")
    facts = replace(CPU, device="endpoint", device_name="Gateway EU")
    assert environment.profile(BACKENDS.of(spec), facts, ()) == "endpoint-gateway-eu"
    found = hard(spec=spec, facts=facts)
    assert set(found) == {"backend", "device", "endpoint", "model", "workload"}
    assert environment.profile_of(found) == "endpoint-gateway-eu"


def test_figures_taken_at_a_socket_never_compare_with_those_in_process() -> None:
    spec = EngineSpec.create("org/model", backend="serve")
    assert hard(spec=spec, facts=CPU)["device"] == "cpu, served"
    assert environment.boundary(BACKENDS.of(EngineSpec.create("m")), CPU) == "cpu"


@relaxed
@given(st.text(max_size=40))
def test_a_slug_is_a_safe_folder_name(name: str) -> None:
    made = slug(name)
    assert made
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")
    assert made[0] not in ".-"
    assert slug(made) == made


def test_differences_are_in_words_and_sorted() -> None:
    then, now = {"b": "1", "a": "1", "same": "x"}, {"a": "2", "same": "x", "c": "3"}
    assert differences(then, now) == ["a: 1 -> 2", "b: 1 -> none", "c: none -> 3"]


@relaxed
@given(st.dictionaries(st.text(max_size=3), st.text(max_size=3)), st.dictionaries(st.text(max_size=3), st.text()))
def test_there_are_differences_exactly_when_two_differ(then: dict[str, str], now: dict[str, str]) -> None:
    assert bool(differences(then, now)) == (then != now)
    assert differences(then, then) == []


def test_keys_are_sorted_so_that_files_do_not_change_without_need() -> None:
    found = environment.fingerprint(Target(SPEC.with_args(a=1, z=2)), WORKLOAD, CUDA, (GPU,), "d")
    assert list(found.hard) == sorted(found.hard)
    assert list(found.soft) == sorted(found.soft)


@pytest.mark.parametrize(
    ("model", "shown"), [("/home/me/models/llama", "llama"), ("~/llama", "llama"), ("org/model", "org/model")]
)
def test_no_home_folder_in_the_models_name(model: str, shown: str) -> None:
    assert soft(spec=EngineSpec.create(model))["model name"] == shown


@pytest.mark.parametrize("key", [None, VariablesKey(b"k" * 32)])
def test_no_value_of_the_engines_environment_in_a_shared_file(key: VariablesKey | None) -> None:
    env = {"HF_TOKEN": "hf_AbCdEf", "DATABASE_URL": "postgres://u:planted@h", "COOKIE": "planted", "PLAIN": "planted"}
    found = environment.fingerprint(Target(EngineSpec.create("org/model", env=env)), WORKLOAD, CUDA, (GPU,), "d", key)
    assert list(found.variables.hashes) == sorted(env)
    told = found.model_dump_json()
    assert not [value for value in env.values() if value in told]
    assert "planted" not in told


def test_no_secret_and_no_home_of_the_engines_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    found = soft(spec=EngineSpec.create(
        "https://me:planted@host/model?token=planted", hf_token="planted", hf_overrides={"api_key": "planted"},
        download_dir="/home/me/cache",
    ))  # fmt: skip
    assert "planted" not in str(found)
    assert "/home/me" not in str(found)
    assert found["engine argument hf_token"] == '"***"'
    assert found["engine argument download_dir"] == '"~/cache"'
    assert "planted" not in str(hard(spec=EngineSpec.create("s3://me:planted@b"), digest="s3://me:planted@b"))


def test_a_rotated_token_is_no_difference() -> None:
    one, other = SPEC.with_args(hf_token="one"), SPEC.with_args(hf_token="other")
    assert one != other
    assert one.key != other.key
    assert soft(spec=one) == soft(spec=other)
    assert differences(soft(), soft(spec=one)) == ['engine argument hf_token: none -> "***"']


@pytest.mark.parametrize(("facts", "gpus"), [
    (CUDA, (GPU,)),
    (CUDA, (GPU, replace(GPU, uuid="GPU-2"))),
    (CPU, ()),
])  # fmt: skip
def test_hard_keys_tell_their_profile_and_their_hardware(facts: EngineFacts, gpus: Any) -> None:
    keys = hard(facts=facts, gpus=gpus)
    assert environment.profile_of(keys) == environment.profile(VLLM, facts, gpus)
    assert environment.hardware(keys) == environment.hardware(
        hard(SPEC, Workload.synthetic(requests=3, input_tokens=4, output_tokens=2), facts, gpus, "other")
    )
    assert set(keys) - set(environment.hardware(keys)) == {"backend", "model", "workload"}


def test_the_simulated_engine_is_of_a_profile_of_its_own() -> None:
    spec = EngineSpec.create("sim", backend="simulated")
    facts = replace(CPU, device="simulated")
    assert environment.profile_of(hard(spec, facts=facts, gpus=())) == "simulated"
    assert environment.profile(BACKENDS.of(spec), facts, ()) == "simulated"


def test_a_file_that_somebody_edited_may_lack_keys() -> None:
    assert environment.profile_of({"cpu": "EPYC"}) == "epyc-cores"
    assert environment.profile_of({}) == "unknown"


def test_an_imported_report_is_of_the_profile_that_the_user_named() -> None:
    keys = {"backend": "GuideLLM", "device": "unknown", "model": "m", "workload": "w"}
    assert environment.profile_of(keys) == "guidellm"
    assert environment.profile_of({**keys, "profile": "h100"}) == "h100"
    assert environment.hardware({**keys, "profile": "h100"}) != environment.hardware(keys)
