"""Code that lies with a model runs only if the test says `trust_remote_code=True`, whatever loads the model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf import models
from pytest_vllmperf.engines import child_engine
from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.errors import EngineStartError

CHILD = Path(child_engine.__file__).parent / "child"
CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaTokenizerFast

Path({marker!r}).touch()

class OwnConfig(LlamaConfig):
    model_type = {model_type!r}

class OwnTokenizer(LlamaTokenizerFast):
    pass
"""
# Everything else that loads a model or a tokenizer: first without the user's word, then with it.
LOADS = """
import json, sys
from pathlib import Path
sys.path.append(sys.argv[1])
import vllmperf_prompts, vllmperf_reference

folder, marker = sys.argv[2], Path(sys.argv[3])
loads = {
    "model": lambda trust: vllmperf_reference.ReferenceEngine().load(folder, {"trust_remote_code": trust}),
    "tokenizer": lambda trust: vllmperf_reference.find_tokenizer(folder, trust_remote_code=trust),
    "another": lambda trust: vllmperf_prompts.render_by(folder, [[{"role": "user", "content": "hi"}]], {}),
}
told = {}
for trust in (False, True):
    for name, load in loads.items():
        sys.modules.pop("own", None)
        for module in [one for one in sys.modules if one.startswith("transformers_modules")]:
            del sys.modules[module]
        words = ""
        try:
            load(trust)
        except ValueError as error:
            words = str(error)
        told[f"{name} {trust}"] = [words, marker.exists()]
        marker.unlink(missing_ok=True)
print(json.dumps(told))
"""


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """What the model's code writes if it is run."""
    return tmp_path / "it ran"


@pytest.fixture
def model(tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Makes a model with code of its own for its configuration and its tokenizer."""
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))

    def make(model_type: str = "llama", *, tokenizer: str = "PreTrainedTokenizerFast") -> str:
        folder = tmp_path / "model"
        models.make_model(folder, models.SHAPES["tiny"], "none")
        (folder / "own.py").write_text(CODE.format(marker=str(marker), model_type=model_type))
        edit(folder / "config.json", model_type=model_type, auto_map={"AutoConfig": "own.OwnConfig"})
        edit(folder / "tokenizer_config.json", tokenizer_class=tokenizer,
             auto_map={"AutoTokenizer": [None, "own.OwnTokenizer"]})  # fmt: skip
        return str(folder)

    return make


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_vllm_takes_its_own_class_where_it_has_one(
    start: Callable[..., Engine], model: Callable[..., str], marker: Path
) -> None:
    start(model()).close()
    assert not marker.exists()


def test_vllm_refuses_a_model_that_needs_its_code(
    start: Callable[..., Engine], model: Callable[..., str], marker: Path
) -> None:
    folder = model("own_type")
    with pytest.raises(EngineStartError) as caught:
        start(folder)
    assert str(caught.value).endswith("; in a test: @pytest.mark.vllm(..., trust_remote_code=True)")
    assert "\n" not in str(caught.value)
    assert not marker.exists()
    start(folder, trust_remote_code=True).close()
    assert marker.exists()


def test_the_reference_and_tokenizers(model: Callable[..., str], marker: Path) -> None:
    words = [sys.executable, "-c", LOADS, str(CHILD), model("own_type", tokenizer="OwnTokenizer"), str(marker)]
    told = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    ran = {name: ran for name, (_, ran) in told.items()}
    assert ran == {
        "model False": False, "tokenizer False": False, "another False": False,
        "model True": True, "tokenizer True": True, "another True": False,
    }  # fmt: skip
    assert all("trust_remote_code=True" in told[name][0] for name in ("model False", "tokenizer False"))
    assert "needs code from its repository, which is not executed here" in told["another False"][0]
