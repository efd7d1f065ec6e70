"""Which model a fingerprint names: by the content of a checkpoint, or the commit that was fetched from the hub."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.models.checkpoint import model_digest
from pytest_vllmperf.records.spec import EngineSpec
from tests.lab.fingerprints import SPEC, hard


def checkpoint(folder: Path, *, config: str = "{}", weights: bytes = b"1234") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "README.md").write_text(folder.name)
    return folder


def test_a_models_digest_is_of_its_content_not_its_place(tmp_path: Path) -> None:
    one, other = checkpoint(tmp_path / "a"), checkpoint(tmp_path / "b" / "c")
    digest = model_digest(str(one))
    assert digest == model_digest(str(other))
    assert digest not in (str(one), str(other))


@pytest.mark.parametrize("changed", [{"config": '{"layers": 2}'}, {"weights": b"12345"}])
def test_another_checkpoint_has_another_digest(tmp_path: Path, changed: dict[str, Any]) -> None:
    one, other = checkpoint(tmp_path / "a"), checkpoint(tmp_path / "b", **changed)
    assert model_digest(str(one)) != model_digest(str(other))


def test_another_file_of_weights_makes_another_model(tmp_path: Path) -> None:
    one, other = checkpoint(tmp_path / "a"), checkpoint(tmp_path / "b")
    (other / "model-2.safetensors").write_bytes(b"")
    assert model_digest(str(one)) != model_digest(str(other))


def test_a_hub_name_stands_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert model_digest("org/model") == "org/model"


ONE, OTHER = "0123456789abcdef" * 2 + "01234567", "f" * 40


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a cache of the hub."""
    for variable in ("HF_HUB_CACHE", "HF_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".cache" / "huggingface" / "hub"


def fetched(cache: Path, revision: str = "main", commit: str = ONE) -> None:
    ref = cache / "models--org--model" / "refs" / revision
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.write_text(commit)


def model_key(spec: EngineSpec = SPEC) -> str:
    return hard(spec, digest=model_digest(spec.model))["model"]


def test_a_hub_model_is_told_by_the_commit_that_was_fetched(hub: Path) -> None:
    assert model_key() == "org/model"
    fetched(hub)
    assert model_key() == f"org/model@{ONE}"
    fetched(hub, commit=OTHER)
    assert model_key() == f"org/model@{OTHER}"
    assert hard(digest="d")["model"] == "d"  # a folder's content
    assert model_digest("org/model") == "org/model"  # the same before and after it is fetched


def test_the_revision_that_was_asked_for_counts(hub: Path) -> None:
    fetched(hub)
    for revision in ("v1.0", "refs/pr/7"):
        assert model_key(SPEC.with_args(revision=revision)) == "org/model"
        fetched(hub, revision, OTHER)
        assert model_key(SPEC.with_args(revision=revision)) == f"org/model@{OTHER}"
    assert model_key(SPEC.with_args(revision=None)) == f"org/model@{ONE}"
    assert model_key(SPEC.with_args(revision="a" * 40)) == f"org/model@{'a' * 40}"  # a commit needs no cache


@pytest.mark.parametrize("engines_own", [True, False])
def test_where_the_cache_lies(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engines_own: bool) -> None:
    fetched(hub)
    spec = SPEC
    for number, (variable, folder) in enumerate([("HF_HOME", "home/hub"), ("HF_HUB_CACHE", "cache")]):
        commit = str(number) * 40
        fetched(tmp_path / folder, commit=commit)
        value = str(tmp_path / folder.removesuffix("/hub"))
        if engines_own:
            spec = replace(spec, env=(*spec.env, (variable, value)))
        else:
            monkeypatch.setenv(variable, value)
        assert model_key(spec) == f"org/model@{commit}"
    fetched(tmp_path / "download", commit=OTHER)
    assert model_key(spec.with_args(download_dir=str(tmp_path / "download"))) == f"org/model@{OTHER}"


@pytest.mark.parametrize("revision", ["/etc/hostname", "..", "\0", "x" * 5000])
def test_a_revision_that_tells_no_commit(hub: Path, revision: str) -> None:
    fetched(hub)
    assert model_key(SPEC.with_args(revision=revision)) == "org/model"


def test_a_reference_that_was_cut_short_is_no_commit(hub: Path) -> None:
    fetched(hub, commit=ONE[:20])
    assert model_key() == "org/model"


def test_a_model_in_one_file_is_told_by_its_content_too(tmp_path: Path) -> None:
    files = [tmp_path / place / "model.gguf" for place in ("a", "b", "c")]
    for file, content in zip(files, (b"12", b"12", b"123"), strict=True):
        file.parent.mkdir()
        file.write_bytes(content)
    one, same, other = (model_digest(str(file)) for file in files)
    assert one == same
    assert one != other
