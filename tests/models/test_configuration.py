"""A model's configuration where it lies on this disk, and the length that it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.models.configuration import configuration, own_length


def written(folder: Path, content: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def test_of_a_folder(tmp_path: Path) -> None:
    folder = written(tmp_path / "model", {"max_position_embeddings": 2048})
    assert configuration(str(folder), {}) == {"max_position_embeddings": 2048}


def test_of_a_model_in_the_hubs_cache(tmp_path: Path) -> None:
    written(tmp_path / "models--Qwen--Qwen3-0.6B" / "snapshots" / "abc", {"max_position_embeddings": 40960})
    assert configuration("Qwen/Qwen3-0.6B", {"HF_HUB_CACHE": str(tmp_path)}) == {"max_position_embeddings": 40960}
    assert configuration("Qwen/Qwen3-8B", {"HF_HUB_CACHE": str(tmp_path)}) == {}


def test_the_text_part_counts(tmp_path: Path) -> None:
    folder = written(tmp_path / "model", {"a": 1, "b": 1, "text_config": {"b": 2}})
    assert configuration(str(folder), {})["b"] == 2


@pytest.mark.parametrize("content", ["[]", "{", "\0"])
def test_what_is_none_is_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    assert configuration(str(tmp_path), {"HF_HUB_CACHE": str(tmp_path)}) == {}


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({"max_position_embeddings": 4096, "n_positions": 1}, 4096),
        ({"n_positions": 1024}, 1024),
        ({"max_position_embeddings": "4096", "max_seq_len": 512}, 512),
        ({"max_position_embeddings": True}, None),
        ({}, None),
    ],
)
def test_the_length_that_it_names(config: dict[str, Any], length: int | None) -> None:
    assert own_length(config) == length
