"""LoRA adapters with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from pytest_vllmperf.errors import ModelError
from pytest_vllmperf.models import SHAPES, adapter_digest, make_adapter


def test_an_adapter_has_two_matrices_for_each_projection(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "sql", rank=4)
    tensors = load_file(folder / "adapter_model.safetensors")
    shape = SHAPES["tiny"]
    assert len(tensors) == 2 * 7 * shape.layers
    name = "base_model.model.model.layers.3.mlp.down_proj.lora_{}.weight"
    assert tensors[name.format("A")].shape == (4, shape.intermediate_size)
    assert tensors[name.format("B")].shape == (shape.hidden_size, 4)
    assert all(np.std(tensor) == pytest.approx(0.05, rel=0.2) for tensor in tensors.values())
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["r"], config["peft_type"], len(config["target_modules"])) == (4, "LORA", 7)


def test_a_digest_is_of_all_that_the_files_hold(tmp_path: Path) -> None:
    one, same = make_adapter(tmp_path / "a"), make_adapter(tmp_path / "b")
    other = make_adapter(tmp_path / "c", seed=2)
    assert adapter_digest(str(one)) == adapter_digest(str(same))
    assert adapter_digest(str(one)) != adapter_digest(str(other))
    before = adapter_digest(str(one))
    (one / "README.md").write_text("about it")
    assert adapter_digest(str(one)) == before
    config = one / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": 16', '"lora_alpha": 32'))
    assert adapter_digest(str(one)) != before
    assert adapter_digest("org/adapter") is None


def test_a_folder_is_never_written_over(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="exists; choose another folder"):
        make_adapter(tmp_path)
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ModelError, match="the adapter could not be written"):
        make_adapter(blocked / "sql")
