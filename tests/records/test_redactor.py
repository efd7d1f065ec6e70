"""Secrets that a run knows are taken out of any text, in whatever form they are printed."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from pytest_vllmperf.records.redactor import Redactor
from pytest_vllmperf.records.spec import EngineSpec


def redactor(*, environ: dict[str, str] | None = None, env: dict[str, str] | None = None, **args: object) -> Redactor:
    made = Redactor({} if environ is None else environ)
    made.learn(EngineSpec.create("m", env=env, **args))
    return made


@pytest.mark.parametrize("name", ["HF_TOKEN", "MY_SETTING", "VLLM_API_KEY", "PGPASS"])
def test_values_of_an_engines_variables(name: str) -> None:
    assert redactor(env={name: "planted value"}).text("it is planted value.") == "it is ***."


@pytest.mark.parametrize(
    "name", ["VLLM_LOGGING_LEVEL", "OMP_PLACES", "PYTHONPATH", "HF_HUB_OFFLINE", "HF_HOME", "PATH"]
)
def test_values_of_harmless_ones_stay(name: str) -> None:
    assert redactor(env={name: "planted value"}).text("it is planted value.") == "it is planted value."


def test_secret_content_of_a_harmless_one() -> None:
    found = redactor(env={"VLLM_URL": "https://u:pass-word@host"})
    assert found.text("https://u:pass-word@host, pass-word") == "***, ***"


def test_the_key_of_an_endpoint_whatever_its_variable_is_called() -> None:
    made = redactor(environ={"WEATHER": "planted value"}, api_key_env="WEATHER")
    assert made.text("WEATHER is planted value") == "WEATHER is ***"
    own = redactor(environ={"WEATHER": "another"}, env={"WEATHER": "planted value"}, api_key_env="WEATHER")
    assert own.text("it is planted value") == "it is ***"


@pytest.mark.parametrize("value", ["short", "1048576", "0.25"])
def test_short_ones_and_numbers_stay(value: str) -> None:
    assert redactor(env={"MY_SETTING": value}).text(f"it is {value}") == f"it is {value}"


def test_arguments_by_name_nested_and_by_gpu() -> None:
    found = redactor(hf_token="planted-1", hf_overrides={"auth": ["planted-2"]}, dtype="float16",
                     per_gpu={"H200": {"api_key": "planted-3"}})  # fmt: skip
    assert found.text("planted-1 planted-2 planted-3 float16") == "*** *** *** float16"


def test_the_password_of_a_url_alone() -> None:
    found = redactor(download_dir="s3://me:planted%20one@bucket")
    assert found.text("planted%20one, planted one, bucket") == "***, ***, bucket"


def test_this_process_variables_with_names_of_secrets_as_they_are_now() -> None:
    environ = {"HF_TOKEN": "planted value", "USER_NAME": "somebody"}
    found = Redactor(environ)
    assert found.text("planted value, somebody") == "***, somebody"
    environ["HF_TOKEN"] = "another value"
    assert found.text("planted value, another value") == "***, ***"


@pytest.mark.parametrize("print_one", [str, repr, json.dumps, quote, lambda text: repr(repr(text)[1:-1])])
def test_in_whatever_form(print_one: object) -> None:
    secret = "pläntéd \"value\" with 'signs' /&?"
    assert callable(print_one)
    printed = print_one(secret)
    shown = redactor(env={"SECRET": secret}).text(f"-> {printed} <-")
    assert "pl" not in shown
    assert "***" in shown


def test_each_line_of_a_long_one() -> None:
    found = redactor(env={"SETTING": "first line\nsecond line\n"})
    assert found.text("a first line\nb\nc second line") == "a ***\nb\nc ***"


@pytest.mark.parametrize(("text", "shown"), [
    ("token planted-va", "token ***"),
    ("token planted-value-of...", "token ***..."),
    ("token planted-va\nnext", "token ***\nnext"),
    ("planted-vase", "planted-vase"),
    ("a planted thing", "a planted thing"),
])  # fmt: skip
def test_one_that_was_cut_short(text: str, shown: str) -> None:
    assert redactor(hf_token="planted-value-of-some-length").text(text) == shown


def test_a_program_names_secrets_that_nobody_knows() -> None:
    assert redactor().log("password='unknown one'") == "password='***'"
    assert redactor().text("password='unknown one'") == "password='unknown one'"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me:pl%61nted@host/x", "tried planted"),
        ("postgresql://me@host/x?password=planted&port=12345678", "tried planted"),
    ],
)
def test_the_password_of_a_database(url: str, said: str) -> None:
    found = redactor()
    assert found.text(said) == said
    found.learn_url(url)
    assert found.text(said) == "tried ***"
    assert found.text("port 12345678, host") == "port 12345678, host"


def test_a_file_is_no_url() -> None:
    found = redactor()
    found.learn_url("folder/planted.db?password=planted")
    assert found.text("planted") == "planted"


def test_longer_values_first() -> None:
    found = redactor(env={"A_SETTING": "planted", "B_SETTING": "planted value"})
    assert found.text("planted value, planted") == "***, ***"


@pytest.mark.parametrize(
    "piece", ["a.", "sk-", "eyJ-", "a://", "x='", "a=", "?a=", "planted", "-----BEGIN A-----", "aws_"]
)
def test_a_flood_comes_to_an_end(piece: str) -> None:
    found = redactor(hf_token="planted-value-of-some-length")
    assert len(found.log(piece * (200_000 // len(piece)))) <= 400_000
