"""Models made here: the same to the byte, whole or not there."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import NoReturn

import pytest
from filelock import FileLock

from pytest_vllmperf.errors import ModelError
from pytest_vllmperf.models import SHAPES, Shape, cache_folder, make, make_model, names, resolve, tokenizer
from pytest_vllmperf.models.tensors import Part
from tests.faults import files_up_to

SMALL = Shape(vocab_size=300, hidden_size=16, intermediate_size=24, layers=2, heads=4, kv_heads=2, max_model_len=64)
FILES = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny", SHAPES["tiny"])


@pytest.fixture(autouse=True)
def _short_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training is most of the time; only the tiny model itself, made before this, needs all of the text."""
    monkeypatch.setattr(tokenizer, "training_text", lambda seed: [f"words {seed} with number {n}" for n in range(50)])


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_the_tiny_model_is_the_same_to_the_byte_in_every_process(tiny: Path, tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from pytest_vllmperf.models import *; "
    program += "make_model(Path(sys.argv[1]), SHAPES['tiny'])"
    other = tmp_path / "elsewhere" / "model"
    env = {**os.environ, "PYTHONHASHSEED": "7", "RAYON_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", program, str(other)], env=env, check=True)
    assert contents(other) == contents(tiny)
    assert set(contents(tiny)) == FILES


def test_another_seed_makes_another_model(tmp_path: Path) -> None:
    one = contents(make_model(tmp_path / "one", SMALL))
    other = contents(make_model(tmp_path / "other", Shape(**{**vars(SMALL), "seed": 1})))
    assert one["model.safetensors"] != other["model.safetensors"]
    assert one["tokenizer.json"] != other["tokenizer.json"]
    assert one["config.json"] == other["config.json"]


def test_weights_are_those_of_the_configuration(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import load_file

    folder = make_model(tmp_path / "model", SMALL)
    tensors = load_file(folder / "model.safetensors")
    assert tensors["model.embed_tokens.weight"].shape == (300, 16)
    assert tensors["model.layers.1.self_attn.k_proj.weight"].shape == (8, 16)
    assert tensors["model.layers.1.mlp.down_proj.weight"].shape == (16, 24)
    assert len(tensors) == 9 * 2 + 3
    assert np.all(tensors["model.norm.weight"] == 1)
    drawn = tensors["model.embed_tokens.weight"]
    assert drawn.dtype == np.float32
    assert (abs(drawn.mean()) < 0.002, 0.015 < drawn.std() < 0.025) == (True, True)
    assert not np.array_equal(drawn, tensors["lm_head.weight"])


def test_transformers_finds_the_architecture_and_every_tensor(tmp_path: Path) -> None:
    from safetensors import safe_open

    folder = make_model(tmp_path / "model", SMALL)
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert (config["head_dim"], config["num_key_value_heads"], config["vocab_size"]) == (4, 2, 300)
    with safe_open(str(folder / "model.safetensors"), framework="numpy") as file:
        assert file.metadata() == {"format": "pt"}


def test_the_tokenizer_has_the_models_size_and_round_trips(tiny: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == SHAPES["tiny"].vocab_size
    for text in ("Hello, world!", "naïve ☃ 漢字", "  two  spaces\n"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert [tokenizer.token_to_id(token) for token in ("<|begin|>", "<|end|>")] == [0, 1]
    told = json.loads((tiny / "generation_config.json").read_text())
    assert told == {"bos_token_id": 0, "eos_token_id": 1}


def test_the_merges_shorten_text_of_its_own_kind(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tokenizers import Tokenizer

    monkeypatch.undo()
    text = " ".join(tokenizer.training_text(0)[:20])
    assert len(Tokenizer.from_file(str(tiny / "tokenizer.json")).encode(text).ids) < len(text) / 2


@pytest.mark.parametrize(
    ("prompted", "expected"),
    [
        (False, "<|begin|><|role|>system\nBe brief.<|turn|><|role|>user\nHi<|turn|>"),
        (True, "<|begin|><|role|>system\nBe brief.<|turn|><|role|>user\nHi<|turn|><|role|>assistant\n"),
    ],
)
def test_the_chat_template_renders(tiny: Path, prompted: bool, expected: str) -> None:
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from tokenizers import Tokenizer

    told = json.loads((tiny / "tokenizer_config.json").read_text())
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(told["chat_template"])
    rendered = template.render(messages=chat, bos_token=told["bos_token"], add_generation_prompt=prompted)
    assert rendered == expected
    tokens = Tokenizer.from_file(str(tiny / "tokenizer.json")).encode(rendered).tokens
    assert [token for token in tokens if token.startswith("<|")] == (
        ["<|begin|>", "<|role|>", "<|turn|>", "<|role|>", "<|turn|>"] + ["<|role|>"] * prompted
    )


def test_a_finished_model_is_left_as_it_is(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model", SMALL)
    (folder / "config.json").write_text("{}")
    before = contents(folder)
    assert make_model(folder, SMALL) == folder
    assert contents(folder) == before


def test_makers_at_the_same_time_make_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, write, made, found = tmp_path / "model", make.write, [], []

    def counted(place: Path, parts: list[Part]) -> None:
        made.append(place)
        write(place, parts)

    monkeypatch.setattr(make, "write", counted)
    threads = [threading.Thread(target=lambda: found.append(make_model(folder, SMALL))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [folder] * 4
    assert len(made) == 1
    assert set(contents(folder)) == FILES


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_half_written_folder_is_refused(tmp_path: Path, missing: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in FILES - {missing}:
        (folder / name).write_text("x")
    with pytest.raises(ModelError) as caught:
        make_model(folder, SMALL)
    assert (
        str(caught.value) == f"{folder} exists but is not a complete model ({missing} missing); choose another folder"
    )
    assert set(contents(folder)) == FILES - {missing}


def test_a_quantization_that_does_not_exist_or_fit_makes_nothing(tmp_path: Path) -> None:
    for quantization, words in (
        ("int3", "no quantization has the name 'int3'; choose one of none, awq, gptq"),
        (
            "awq",
            "awq needs layers whose numbers of outputs and inputs are multiples of 8 and 128; "
            "model.layers.0.self_attn.q_proj.weight has 16",
        ),
    ):
        with pytest.raises(ModelError, match=re.escape(words)):
            make_model(tmp_path / "model", SMALL, quantization)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.write_text("mine")
    with pytest.raises(ModelError, match="is not a complete model"):
        make_model(folder, SMALL)
    assert folder.read_text() == "mine"


def test_a_missing_library_is_told_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = "tokenizers"
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ModelError) as caught:
        make_model(tmp_path / "model", SMALL)
    assert str(caught.value).startswith(library)
    assert "pip install 'pytest-vllmperf[models]'" in str(caught.value)
    assert [p.name for p in tmp_path.iterdir() if not p.name.endswith(".lock")] == []


def test_below_a_regular_file_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    folder = tmp_path / "file" / "models" / "tiny"
    with pytest.raises(ModelError) as caught:
        make_model(folder, SMALL)
    assert str(caught.value) == f"{folder}: the model could not be written: Not a directory"


@pytest.mark.parametrize("fails", ["model.safetensors", "tokenizer.json"])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, fails: str) -> None:
    shape = Shape(vocab_size=300, hidden_size=2, intermediate_size=2, layers=1, heads=1, kv_heads=1)
    sizes = {name: len(content) for name, content in contents(make_model(tmp_path / "reference", shape)).items()}
    assert sizes["model.safetensors"] < sizes["tokenizer.json"]
    folder = tmp_path / "model"
    with files_up_to(sizes[fails] - 1), pytest.raises(ModelError, match="could not be written") as caught:
        make_model(folder, shape)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {p.name for p in tmp_path.iterdir() if not p.name.endswith(".lock")} == {"reference"}
    assert make_model(folder, shape) == folder


def test_an_interrupted_maker_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(place: Path, parts: list[Part]) -> None:
        (place / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(make, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_model(tmp_path / "model", SMALL)
    assert [p.name for p in tmp_path.iterdir() if not p.name.endswith(".lock")] == []


@pytest.mark.parametrize("model", ["org/model", "/models/llama", "tiny", "my-vllmperf:tiny"])
def test_other_models_keep_their_name(model: str) -> None:
    assert resolve(model) == model


@pytest.mark.parametrize("name", ["huge", "", "../tiny", "tiny-int3", "tiny-", "-awq"])
def test_a_built_in_name_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="choose one of vllmperf:tiny") as caught:
        resolve(f"vllmperf:{name}")
    assert repr(name) in str(caught.value)


def test_every_shape_comes_in_every_quantization() -> None:
    assert {"vllmperf:tiny", "vllmperf:tiny-awq", "vllmperf:qwen3-0.6b-gptq", "vllmperf:llama-8b-fp8"} < set(names())
    assert len(names()) == 3 * 7


def test_a_quantization_is_part_of_a_built_in_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLMPERF_CACHE", str(tmp_path / "cache"))
    quantizable = Shape(vocab_size=300, hidden_size=128, intermediate_size=128, layers=1, heads=1, kv_heads=1)
    monkeypatch.setitem(SHAPES, "tiny", quantizable)
    plain, awq = (Path(resolve(f"vllmperf:tiny{suffix}")) for suffix in ("", "-awq"))
    assert plain != awq
    assert "quantization_config" not in json.loads((plain / "config.json").read_text())
    assert json.loads((awq / "config.json").read_text())["quantization_config"]["quant_method"] == "awq"


def test_a_built_in_model_is_made_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLMPERF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(SHAPES, "tiny", SMALL)
    found = Path(resolve("vllmperf:tiny"))
    assert found.parent == tmp_path / "cache"
    assert found.name.startswith("tiny-")
    assert set(contents(found)) == FILES


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("VLLMPERF_CACHE", raising=False)
    assert cache_folder() == Path("/home/me/.cache/pytest-vllmperf")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/me")
    assert cache_folder() == Path("/var/cache/me/pytest-vllmperf")
    monkeypatch.setenv("VLLMPERF_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path


def test_a_finished_model_needs_no_lock(tmp_path: Path) -> None:
    """As in a cache that is read-only, or while another run makes the same model elsewhere."""
    folder = make_model(tmp_path / "model", SMALL)
    lock = tmp_path / "model.lock"
    lock.unlink(missing_ok=True)
    lock.mkdir()  # a lock file can be neither made nor opened, whoever asks
    assert make_model(folder, SMALL) == folder


def test_who_waits_for_another_run_says_so_and_then_reads_what_it_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, told = tmp_path / "model", []
    other = FileLock(f"{folder}.lock")
    other.acquire()
    monkeypatch.setattr(make, "_POLL_S", 0.01)

    def release(doing: str, waited: float) -> None:
        told.append(doing)
        other.release()

    make_model(folder, SMALL, progress=release)
    assert told == ["waiting for another run that is making the model model", "making the model model"]


def test_the_wait_for_another_run_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    monkeypatch.setattr(make, "_POLL_S", 0.01)
    monkeypatch.setattr(make, "WAIT_S", 0.05)
    with FileLock(f"{folder}.lock"), pytest.raises(ModelError) as caught:
        make_model(folder, SMALL)
    assert str(caught.value) == f"{folder}: another run has locked it ({folder}.lock) for 0.05 s; end that run"
    assert not folder.exists()


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "VLLMPERF_CACHE"):
        monkeypatch.delenv(name, raising=False)

    def unknown(number: int) -> NoReturn:
        raise KeyError(number)

    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises(
        ModelError, match="no home folder to store models in; set VLLMPERF_CACHE to a folder, or set HOME"
    ):
        resolve("vllmperf:tiny")


KILLED = """
import os, signal, sys
from pathlib import Path
from typing import NoReturn
from pytest_vllmperf.models import make
from tests.models.test_make import SMALL

def killed(place, parts):
    (place / "model.safetensors").write_bytes(b"x" * 2**20)
    os.kill(os.getpid(), signal.SIGKILL)

make.write = killed
make.make_model(Path(sys.argv[1]), SMALL)
"""


def test_what_a_killed_maker_left_is_removed_by_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    run = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    assert run.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.glob(".model.making-*")] != []
    make_model(folder, SMALL)
    assert list(tmp_path.glob(".model.making-*")) == []
    assert set(contents(folder)) == FILES
