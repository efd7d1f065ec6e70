"""What is a path, what may be the hub's, and what is certainly nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_vllmperf.errors import ModelError
from pytest_vllmperf.models import check_location, resolve


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, and a home folder, with nothing in them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def snapshot(cache: Path, name: str) -> None:
    """A model in the hub's cache."""
    (cache / f"models--{name.replace('/', '--')}" / "snapshots" / "abc").mkdir(parents=True)


PATHS = ["/nowhere/model", "./nope", "../nope", "~/nope", ".", "..", "a/b/c", "nope/", "models/nope/"]


@pytest.mark.parametrize("model", [path for path in PATHS if path not in (".", "..")])
def test_what_can_only_be_a_path_has_to_exist(here: Path, model: str) -> None:
    with pytest.raises(ModelError, match=f"^the model path {model} does not exist"):
        check_location(model, {"revision": "main"}, {})


def test_a_relative_path_is_reported_with_where_it_starts(here: Path) -> None:
    with pytest.raises(ModelError, match=f"; relative paths start at {here}$"):
        check_location("a/b/c", {}, {})
    with pytest.raises(ModelError, match=r"does not exist$"):
        check_location("/nowhere/model", {}, {})


@pytest.mark.parametrize("model", [".", "./models", "models", "models/one", "models/one.gguf", "models/a/b", "~/model"])
def test_what_exists_is_fine(here: Path, model: str) -> None:
    for folder in ("models/one", "models/a/b", "home/model"):
        (here / folder).mkdir(parents=True)
    (here / "models/one.gguf").write_text("")
    check_location(model, {}, {"HF_HUB_OFFLINE": "1"})


def test_a_home_folder_is_expanded_for_the_library(here: Path) -> None:
    assert resolve("~/model") == str(here / "home/model")
    assert resolve("org/model") == "org/model"
    assert resolve("./model") == "./model"


@pytest.mark.parametrize("model", ["gpt2", "org/model", "org/model-1.5", "org/model:Q4_K_M", "s3://bucket/a/b"])
def test_what_may_be_the_hubs_is_left_to_the_library(here: Path, model: str) -> None:
    check_location(model, {}, {})


@pytest.mark.parametrize("model", ["models/nope", "nope.gguf", "org/weights.safetensors"])
def test_a_name_that_looks_like_a_path_is_refused(here: Path, model: str) -> None:
    (here / "models").mkdir()
    with pytest.raises(ModelError) as caught:
        check_location(model, {}, {})
    assert str(caught.value) == (
        f"there is no {model} in {here}, and the Hugging Face cache holds no model of this name; "
        "if it is a model on the Hugging Face hub, add its revision, such as revision='main'"
    )


@pytest.mark.parametrize("argument", ["revision", "hf_token"])
def test_unless_an_argument_says_that_it_is_the_hubs(here: Path, argument: str) -> None:
    (here / "models").mkdir()
    check_location("models/nope", {argument: "main"}, {})
    with pytest.raises(ModelError):
        check_location("models/nope", {argument: None}, {})


def test_or_the_hubs_cache_holds_it(here: Path) -> None:
    (here / "models").mkdir()
    snapshot(here / "home/.cache/huggingface/hub", "models/nope")
    check_location("models/nope", {}, {})
    with pytest.raises(ModelError):
        check_location("models/other", {}, {})


@pytest.mark.parametrize("model", ["gpt2", "org/model", "org/model:Q4_K_M"])
@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_a_name_has_to_be_in_the_cache(here: Path, model: str, variable: str) -> None:
    with pytest.raises(ModelError) as caught:
        check_location(model, {}, {variable: "true"})
    assert str(caught.value) == (
        f"there is no {model} in {here}, and the Hugging Face cache holds no model of this name; "
        f"{variable}=true forbids downloads"
    )
    check_location(model, {}, {variable: "0"})


@pytest.mark.parametrize(
    ("env", "arguments", "cache"),
    [
        ({}, {}, "home/.cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "xdg"}, {}, "xdg/huggingface/hub"),
        ({"HF_HOME": "hf"}, {}, "hf/hub"),
        ({"HF_HUB_CACHE": "cache"}, {}, "cache"),
        ({"HUGGINGFACE_HUB_CACHE": "cache"}, {}, "cache"),
        ({"TRANSFORMERS_CACHE": "cache"}, {}, "cache"),
        ({}, {"download_dir": "cache"}, "cache"),
        ({}, {"cache_dir": "cache"}, "cache"),
    ],
)
def test_every_place_of_the_cache_counts(
    here: Path, env: dict[str, str], arguments: dict[str, str], cache: str
) -> None:
    offline = {**env, "HF_HUB_OFFLINE": "1"}
    with pytest.raises(ModelError):
        check_location("org/model", arguments, offline)
    snapshot(here / cache, "org/model")
    check_location("org/model", arguments, offline)
    check_location("org/model:Q4_K_M", arguments, offline)


@pytest.mark.parametrize("variable", ["VLLM_USE_MODELSCOPE", "VLLM_MODEL_REDIRECT_PATH"])
def test_where_somebody_else_resolves_names_nothing_is_refused(here: Path, variable: str) -> None:
    (here / "models").mkdir()
    for model in ("models/nope", "a/b/c"):
        check_location(model, {}, {variable: "1", "HF_HUB_OFFLINE": "1"})


def test_a_cache_that_cannot_be_read_refuses_nothing(here: Path) -> None:
    check_location("n" * 5000, {}, {"HF_HUB_OFFLINE": "1"})  # longer than a file's name may be


@pytest.mark.parametrize("model", ["a\0b", "~nobody-of-that-name/model"])
def test_a_name_that_no_file_can_have_is_one_line(here: Path, model: str) -> None:
    with pytest.raises(ModelError) as caught:
        check_location(model, {}, {"HF_HUB_OFFLINE": "1"})
    assert "\n" not in str(caught.value)
