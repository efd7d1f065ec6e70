"""`vllmperf quantize`: what it asks for, what it prints, and how it fails."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from unittest import mock

import pytest

from pytest_vllmperf import cli, models
from pytest_vllmperf.calibration import quantize
from pytest_vllmperf.calibration.quantize import RECORD, QuantizeSettings
from pytest_vllmperf.models import Shape

SMALL = Shape(vocab_size=300, hidden_size=8, intermediate_size=8, layers=1, heads=2, kv_heads=1)
MODULES = [
    *("transformers", "datasets", "torch", "llmcompressor", "llmcompressor.pipelines.cache"),
    *("llmcompressor.modifiers.gptq", "llmcompressor.modifiers.transform.awq", "llmcompressor.modifiers.quantization"),
]
Asked = list[tuple[str, Path, Path, QuantizeSettings]]


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a folder with enough prompts for the default, and a small built-in model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(models.SHAPES, "tiny", SMALL)
    monkeypatch.setattr(models.tokenizer, "training_text", lambda seed: ["some words to train a tokenizer on"])
    monkeypatch.setenv("VLLMPERF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    write_prompts(128)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> dict[str, mock.MagicMock]:
    """llm-compressor and its companions, which do whatever is asked of them."""
    modules = {name: mock.MagicMock(__spec__=ModuleSpec(name, None)) for name in MODULES}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return modules


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What the command asks `quantize` for, which makes nothing."""
    asked: Asked = []

    def remember(model: str, output: Path, calibration: Path, settings: QuantizeSettings) -> Path:
        asked.append((model, output, calibration, settings))
        return output

    monkeypatch.setattr(quantize, "quantize", remember)
    return asked


def write_prompts(count: int) -> None:
    Path("prompts.jsonl").write_text('{"prompt": "Hello"}\n' * count)


def run(*arguments: str, model: str = "org/model") -> int:
    """The command with what it cannot do without; what is given again counts."""
    return cli.main(["quantize", model, "--scheme", "gptq", "--calibration", "prompts.jsonl", *arguments])


def failed(capsys: pytest.CaptureFixture[str], *arguments: str, model: str = "org/model") -> str:
    """The one line that it fails with."""
    assert run(*arguments, model=model) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("vllmperf: ")
    assert err.count("\n") == 1
    return err.removeprefix("vllmperf: ").rstrip("\n")


def test_a_model_is_made_and_its_folder_printed(
    library: dict[str, mock.MagicMock], capsys: pytest.CaptureFixture[str]
) -> None:
    oneshot = library["llmcompressor"].oneshot
    for _ in range(2):
        assert run("--output", "new/made") == 0
        assert capsys.readouterr() == ("new/made\n", "")
        assert oneshot.call_count == 1, "the finished one is left alone"
    assert Path("new/made", RECORD).is_file()
    assert oneshot.call_args.kwargs["num_calibration_samples"] == 128


def test_defaults(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    settings = QuantizeSettings("gptq", samples=128, group_size=128, max_length=2048)
    assert asked == [("org/model", Path("model-gptq"), Path("prompts.jsonl"), settings)]
    assert capsys.readouterr() == ("model-gptq\n", "")


def test_options_are_passed_on(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--samples", "7", "--group-size", "32", "--max-length", "99", "--output", "a/b", "--scheme", "awq"]
    assert run(*options, "--calibration", "other.jsonl") == 0
    settings = QuantizeSettings("awq", samples=7, group_size=32, max_length=99)
    assert asked == [("org/model", Path("a/b"), Path("other.jsonl"), settings)]
    assert capsys.readouterr().out == "a/b\n"


@pytest.mark.parametrize(
    ("model", "output"),
    [
        ("org/Qwen3-0.6B", "Qwen3-0.6B-awq"),
        ("model", "model-awq"),
        ("/models/llama/", "llama-awq"),
        ("vllmperf:tiny", "tiny-awq"),
    ],
)
def test_the_folder_is_named_after_model_and_scheme(model: str, output: str, asked: Asked) -> None:
    assert run("--scheme", "awq", model=model) == 0
    assert asked[0][1] == Path(output)


def test_a_built_in_model_is_made_first(asked: Asked, tmp_path: Path) -> None:
    assert run(model="vllmperf:tiny") == 0
    folder = Path(asked[0][0])
    assert folder.parent == tmp_path / "cache"
    assert (folder / "config.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scheme", "int3"], "--scheme 'int3' does not exist; choose one of awq, gptq"),
        (["--samples", "0"], "--samples 0 must be at least 1"),
        (["--group-size", "0"], "--group-size 0 must be at least 1"),
        (["--max-length", "-1"], "--max-length -1 must be at least 1"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_before_a_model_is_made(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failed(capsys, *arguments, model="vllmperf:tiny") == words
    assert not Path("cache").exists()


def test_a_built_in_model_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "huge" in failed(capsys, model="vllmperf:huge")


def test_calibration_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    message = failed(capsys, "--calibration", "missing.jsonl")
    assert message == "missing.jsonl: calibration prompts cannot be read: No such file or directory"


def test_a_bad_line_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("prompts.jsonl").write_text('{"prompt": "Hello"}\n{"messages": []}\n')
    assert failed(capsys, "--samples", "1").startswith("prompts.jsonl:2: ")


def test_too_few_prompts_for_the_default_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    write_prompts(127)
    assert failed(capsys).startswith("prompts.jsonl: 127 prompts, but --samples asks for 128; ")


def test_without_llm_compressor_the_extra_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llmcompressor", None)
    message = failed(capsys)
    assert message.startswith("llmcompressor is not installed in this environment")
    assert message.endswith("pip install 'pytest-vllmperf[quantize]'")
    assert not Path("model-gptq").exists()


def test_a_model_that_cannot_be_loaded_is_one_line(
    library: dict[str, mock.MagicMock], capsys: pytest.CaptureFixture[str]
) -> None:
    library["transformers"].AutoModelForCausalLM.from_pretrained.side_effect = OSError("no such repository\nlog in")
    assert failed(capsys) == "org/model could not be loaded: no such repository"


def test_an_error_of_the_library_is_one_line(
    library: dict[str, mock.MagicMock], capsys: pytest.CaptureFixture[str]
) -> None:
    library["llmcompressor"].oneshot.side_effect = ValueError("128 does not divide 72\nin layer 0")
    assert failed(capsys) == "llm-compressor could not quantize org/model: 128 does not divide 72"
    assert not Path("model-gptq").exists()


def test_a_finished_model_with_other_settings_is_refused(
    library: dict[str, mock.MagicMock], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    capsys.readouterr()
    message = failed(capsys, "--group-size", "64")
    assert message == (
        "model-gptq holds a model with another group_size; remove it, or choose another folder with --output"
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["org/model", "--calibration", "prompts.jsonl"], "--scheme"),
        (["org/model", "--scheme", "awq"], "--calibration"),
        (["--scheme", "awq", "--calibration", "prompts.jsonl"], "model"),
        (["org/model", "--scheme", "awq", "--calibration", "prompts.jsonl", "--samples", "many"], "--samples"),
        (["org/model", "--scheme", "awq", "--calibration", "prompts.jsonl", "--group-size", "1.5"], "--group-size"),
    ],
)
def test_a_command_that_is_not_whole_is_refused(
    arguments: list[str], named: str, asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["quantize", *arguments])
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert (out, "Traceback" in err) == ("", False)
    assert named in err.splitlines()[-1]
    assert asked == []
