"""Flags, ini settings and markers become settings, or are refused in one line."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.harness import flags, options
from pytest_vllmperf.harness.options import call_settings
from pytest_vllmperf.records.problems import RULES
from pytest_vllmperf.records.settings import DEFAULTS, CheckSettings, Settings, Update

relaxed = hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def from_flags(pytester: pytest.Pytester, *flags: str, ini: str = "") -> Settings:
    if ini:
        pytester.makeini(f"[pytest]\n{ini}\n")
    return options.settings(pytester.parseconfig(*flags))


def test_without_a_flag_the_defaults_stand(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]")  # the root directory, wherever the temporary folder lies
    assert from_flags(pytester) == Settings(Update.NONE, pytester.path / "baselines", DEFAULTS, 900.0, 600.0)
    assert CheckSettings(10, "auto", 0.05, {}, ("auto",), "fail", (), "", 3) == DEFAULTS


ALL_INI = """
vllmperf_baselines = perf/base
vllmperf_iterations = 4
vllmperf_warmup = 0
vllmperf_device_pass = 5
vllmperf_margin = 0.1
vllmperf_gate = clock, exact ttft.p90
vllmperf_allow = preemptions, lost clocks
vllmperf_require_gpu = true
vllmperf_gpu_hour_price = 2.5
vllmperf_start_timeout = 30
vllmperf_operation_timeout = 1.5
"""


def test_ini_settings_come_before_defaults(pytester: pytest.Pytester) -> None:
    check = CheckSettings(
        4, 0, 0.1, {}, ("clock", "exact", "ttft.p90"), "fail", ("preemptions", "lost", "clocks"), "", device_pass=5
    )
    expected = Settings(
        Update.NONE, pytester.path / "perf" / "base", check, 30.0, 1.5, require_gpu=True, gpu_hour_price=2.5
    )
    assert from_flags(pytester, ini=ALL_INI) == expected


def test_flags_come_before_ini_settings(pytester: pytest.Pytester) -> None:
    flags = ["--vllmperf-baselines=/elsewhere", "--vllmperf-iterations=7", "--vllmperf-warmup=3",
             "--vllmperf-margin=0", "--vllmperf-gate=cpu", "--vllmperf-start-timeout=5",
             "--vllmperf-operation-timeout=6", "--vllmperf-allow=throttling",
             "--vllmperf-gpu-hour-price=0.4", "--vllmperf-device-pass=off"]  # fmt: skip
    check = CheckSettings(7, 3, 0.0, {}, ("cpu",), "fail", ("throttling",), "", device_pass=0)
    assert from_flags(pytester, *flags, ini=ALL_INI) == Settings(
        Update.NONE, Path("/elsewhere"), check, 5.0, 6.0, require_gpu=True, gpu_hour_price=0.4
    )


def test_a_gpu_is_required_by_flag_or_by_ini(pytester: pytest.Pytester) -> None:
    assert not from_flags(pytester).require_gpu
    assert from_flags(pytester, "--vllmperf-require-gpu").require_gpu
    assert from_flags(pytester, "--vllmperf-require-gpu", ini="vllmperf_require_gpu = false").require_gpu
    assert not from_flags(pytester, "-o", "vllmperf_require_gpu=no", ini="vllmperf_require_gpu = true").require_gpu


def test_an_ini_setting_that_is_neither_true_nor_false_is_refused(pytester: pytest.Pytester) -> None:
    with pytest.raises(SpecError) as caught:
        from_flags(pytester, ini="vllmperf_require_gpu = maybe")
    assert str(caught.value) == ("ini setting vllmperf_require_gpu: invalid truth value 'maybe'; write true or false")


def test_a_flag_that_allows_nothing_takes_back_what_the_ini_file_allows(pytester: pytest.Pytester) -> None:
    assert from_flags(pytester, "--vllmperf-allow=", ini="vllmperf_allow = lost").check.allow == ()


def test_a_rule_that_does_not_exist_is_refused_with_those_that_do(pytester: pytest.Pytester) -> None:
    with pytest.raises(SpecError) as caught:
        from_flags(pytester, "--vllmperf-allow=lost slowness")
    assert str(caught.value) == f"--vllmperf-allow: no validity rule has the name 'slowness'; rules: {', '.join(RULES)}"


@pytest.mark.parametrize(
    ("given", "armed", "update"),
    [
        ([], False, Update.NONE),
        (["--vllmperf"], True, Update.NONE),
        (["--vllmperf-update"], True, Update.ALL),
        (["--vllmperf-update-new"], True, Update.NEW),
        (["--vllmperf", "--vllmperf-update"], True, Update.ALL),
    ],
)
def test_which_flags_arm_and_record(pytester: pytest.Pytester, given: list[str], armed: bool, update: Update) -> None:
    config = pytester.parseconfig(*given)
    assert flags.armed(config) is armed
    assert options.settings(config).update is update


def test_two_ways_to_record_are_refused(pytester: pytest.Pytester) -> None:
    with pytest.raises(SpecError, match="leave --vllmperf-update-new out"):
        from_flags(pytester, "--vllmperf-update", "--vllmperf-update-new")


BAD = [
    ("iterations", "0"),
    ("iterations", "ten"),
    ("iterations", "2.5"),
    ("iterations", "-1"),
    ("warmup", "-1"),
    ("margin", "-0.1"),
    ("margin", "5"),
    ("margin", "1.01"),
    ("margin", "-5%"),
    ("margin", "nan%"),
    ("margin", "inf%"),
    ("margin", "%"),
    ("margin", "0,05"),
    ("margin", "ttft.p50=5"),
    ("margin", "nan"),
    ("margin", "inf"),
    ("gate", "speed"),
    ("allow", "speed"),
    ("gpu-hour-price", "0"),
    ("gpu-hour-price", "-1"),
    ("gpu-hour-price", "nan"),
    ("gpu-hour-price", "inf"),
    ("gpu-hour-price", "2 EUR"),
    ("start-timeout", "0"),
    ("operation-timeout", "soon"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_value_that_cannot_be_meant_names_the_flag(pytester: pytest.Pytester, name: str, value: str) -> None:
    with pytest.raises(SpecError) as caught:
        from_flags(pytester, f"--vllmperf-{name}={value}")
    assert str(caught.value).startswith(f"--vllmperf-{name}")
    assert value.rpartition("=")[2] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_value_that_cannot_be_meant_names_the_ini_setting(pytester: pytest.Pytester, name: str, value: str) -> None:
    setting = f"vllmperf_{name.replace('-', '_')}"
    with pytest.raises(SpecError) as caught:
        from_flags(pytester, ini=f"{setting} = {value}")
    assert str(caught.value).startswith(f"ini setting {setting}")
    assert value.rpartition("=")[2] in str(caught.value)


def test_a_keyword_that_is_none_is_refused_with_those_that_are() -> None:
    with pytest.raises(SpecError) as caught:
        call_settings(rounds=3)
    known = "iterations, warmup, device_pass, margin, gate, limits, unsupported, allow, against"
    assert str(caught.value) == f"unknown keyword 'rounds'; known are {known}"


def test_a_folder_without_a_name_is_refused(pytester: pytest.Pytester) -> None:
    with pytest.raises(SpecError, match=r"^--vllmperf-baselines is empty; name a folder$"):
        from_flags(pytester, "--vllmperf-baselines=")
    assert from_flags(pytester, "--vllmperf-scorecards=", ini="vllmperf_scorecards = cards").scorecards is None


def test_a_gate_of_nothing_is_refused(pytester: pytest.Pytester) -> None:
    with pytest.raises(SpecError, match="--vllmperf-gate"):
        from_flags(pytester, "--vllmperf-gate=")


@pytest.mark.parametrize(
    "given_",
    [
        {"iterations": True},
        {"iterations": "many"},
        {"warmup": -1},
        {"margin": True},
        {"margin": [0.1]},
        {"margin": 5},
        {"margin": {"ttft.p50": 5}},
        {"margin": {7: 0.05}},
        {"gate": 5},
        {"gate": ""},
        {"gate": ()},
        {"gate": ["ttft.p50", 5]},
        {"allow": True},
        {"allow": {"lost": True}},
        {"allow": "everything"},
        {"allow": ["lost", 5]},
    ],
)
def test_a_call_that_cannot_be_meant_is_refused(given_: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=next(iter(given_))):
        call_settings(**given_)


@pytest.mark.parametrize("name", ["clock", "auto", "exact", "cpu"])
def test_a_margin_for_a_set_of_metrics_is_not_lost(name: str) -> None:
    """It is either refused or holds for the metrics of the set."""
    try:
        margins = call_settings(margin={name: 0.2}).margins
    except SpecError:
        return
    assert name not in margins
    assert set(margins.values()) == {0.2}


def test_what_a_call_says() -> None:
    found = call_settings(iterations="3", warmup=0, margin="0.25", gate="clock,exact")
    assert found == CheckSettings(3, 0, 0.25, {}, ("clock", "exact"))
    assert call_settings(margin="500% ttft.p50=10 %") == CheckSettings(margin=5.0, margins={"ttft.p50": 0.1})
    assert call_settings(margin={"ttft.p50": "10%", "e2e.p50": 1}) == CheckSettings(
        margins={"ttft.p50": 0.1, "e2e.p50": 1.0}
    )
    assert call_settings(allow=["lost", "clocks, lost"]) == CheckSettings(allow=("lost", "clocks"))
    assert call_settings(allow=()) == CheckSettings(allow=())
    assert call_settings() == CheckSettings()
    assert call_settings(margin={}) == CheckSettings()


optional = CheckSettings(None, None, None, {}, None)
some = st.builds(
    CheckSettings,
    iterations=st.none() | st.integers(1, 9),
    warmup=st.none() | st.integers(0, 9),
    margin=st.none() | st.floats(0, 1),
    margins=st.dictionaries(st.sampled_from(["ttft.p50", "e2e.p50"]), st.floats(0, 1)),
    gate=st.none() | st.just(()) | st.tuples(st.just("clock")),
    allow=st.none() | st.just(()) | st.tuples(st.sampled_from(["lost", "clocks"])),
    against=st.none() | st.sampled_from(["", "/stable/bin/python"]),
    device_pass=st.none() | st.integers(0, 9),
)


@relaxed
@given(some, some, some)
def test_settings_over_settings(a: CheckSettings, b: CheckSettings, c: CheckSettings) -> None:
    assert a.over(optional) == a == optional.over(a)
    assert a.over(b).over(c) == a.over(b.over(c))
    both = a.over(b)
    for name in ("iterations", "warmup", "margin", "gate", "allow", "against", "device_pass"):
        mine = getattr(a, name)
        assert getattr(both, name) == (getattr(b, name) if mine is None else mine)
    # a margin for all metrics overrides what was said further out about single ones
    assert both.margins == (a.margins if a.margin is not None else {**b.margins, **a.margins})


def test_the_runs_settings_leave_nothing_open() -> None:
    for found in (optional.over(DEFAULTS), CheckSettings(warmup=0, margin=0.0).over(DEFAULTS)):
        assert None not in (getattr(found, one.name) for one in fields(found))
    whole = CheckSettings(10, 0, 0.0, {}, ("auto",), "fail", (), "", 3)
    assert CheckSettings(warmup=0, margin=0.0).over(DEFAULTS) == whole


def test_loading_the_plugin_imports_nothing_heavy() -> None:
    program = (
        "import sys, pytest; before = set(sys.modules); import pytest_vllmperf.plugin;"
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {"numpy", "scipy", "pydantic", "torch", "vllm", "transformers", "pynvml", "psutil", "tabulate", "filelock"}
    assert "pytest_vllmperf" in done.stdout.split()
    assert heavy.isdisjoint(done.stdout.split())
