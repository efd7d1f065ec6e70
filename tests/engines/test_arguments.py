"""Which engine arguments vLLM knows, read from its source; anything unexpected there means that nobody is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_vllmperf.engines import arguments
from pytest_vllmperf.engines.arguments import accepted, check_arguments
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.records.spec import EngineSpec

INIT = 'ATTRIBUTES = {"LLM": ".entrypoints.llm:LLM"}\nraise RuntimeError("imported")\n'
ENGINE_ARGS = """
from dataclasses import dataclass, field

@dataclass
class EngineArgs:
    model: str = "m"
    dtype: str = "auto"
    max_model_len: int | None = field(default=None)
    max_num_seqs: int = 8
    not_a_field = 3

    def __post_init__(self):
        local: int = 1

@dataclass
class AsyncEngineArgs(EngineArgs):
    of_another_class: bool = False
"""
LLM = """
class LLM(SomeMixin):
    def __init__(self, model, *, quantization=None, tokenizer: str | None = None, **kwargs):
        kwargs.pop("swap_space", None)
        engine_args = EngineArgs(model=model, quantization=quantization, **kwargs)

    def chat(self, messages, of_another_method=None):
        pass
"""


def write(folder: Path, init: str = INIT, engine_args: str = ENGINE_ARGS, llm: str = LLM) -> Path:
    """A vLLM of which only the source is there: importing it fails."""
    package = folder / "vllm"
    for path, text in (("__init__.py", init), ("engine/arg_utils.py", engine_args), ("entrypoints/llm.py", llm)):
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(text)
    return package


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the interpreter looks into first."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def test_fields_keywords_and_what_the_constructor_takes_out_are_accepted(tmp_path: Path) -> None:
    known = accepted(write(tmp_path))
    assert known is not None
    assert {"max_model_len", "max_num_seqs", "quantization", "tokenizer", "swap_space"} <= known
    assert set(arguments.CHAT_ARGUMENTS) <= known
    assert known.isdisjoint({"not_a_field", "local", "of_another_class", "of_another_method", "kwargs", "messages"})


@pytest.mark.parametrize(
    ("part", "old", "new"),
    [
        ("init", "entrypoints.llm", "elsewhere"),
        ("engine_args", "class EngineArgs:", "class EngineArgs(Base):"),
        ("engine_args", "class EngineArgs:", "class EngineArgs(metaclass=Meta):"),
        ("engine_args", "class EngineArgs:", "class Arguments:"),
        ("engine_args", "@dataclass\nclass EngineArgs:", "class EngineArgs:"),
        ("engine_args", "@dataclass\nclass EngineArgs:", "@other\n@dataclass\nclass EngineArgs:"),
        ("engine_args", "__post_init__(self)", "__init__(self, **anything)"),
        ("engine_args", "max_model_len", "longest"),
        ("engine_args", "class EngineArgs:", "class EngineArgs"),
        ("engine_args", "class AsyncEngineArgs(EngineArgs)", "class EngineArgs"),
        ("llm", "class LLM", "class Model"),
        ("llm", "__init__", "start"),
        ("llm", ", **kwargs):", "):"),
        ("llm", ", **kwargs)\n\n", ")\n\n"),
        ("llm", ", **kwargs)\n\n", ", **checked)\n\n"),
        ("llm", "= EngineArgs(", "= make_args("),
    ],
)
def test_a_source_that_is_not_as_expected_says_nothing(tmp_path: Path, part: str, old: str, new: str) -> None:
    text = {"init": INIT, "engine_args": ENGINE_ARGS, "llm": LLM}[part]
    assert old in text
    assert accepted(write(tmp_path, **{part: text.replace(old, new, 1)})) is None


@pytest.mark.parametrize("file", ["__init__.py", "engine/arg_utils.py", "entrypoints/llm.py"])
def test_neither_does_one_that_is_not_there_or_no_text(tmp_path: Path, file: str) -> None:
    package = write(tmp_path)
    (package / file).write_bytes(b"\xff\xfe\0")
    assert accepted(package) is None
    (package / file).unlink()
    assert accepted(package) is None


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (("max_modl_len",), "model: vLLM has no engine argument 'max_modl_len' (did you mean max_model_len?)"),
        (("perGPU",), "model: vLLM has no engine argument 'perGPU' (did you mean per_gpu?)"),
        (
            ("zzz", "qunatization"),
            "model: vLLM has no engine argument 'qunatization' (did you mean quantization?), 'zzz'",
        ),
    ],
)
def test_a_typo_is_refused_with_the_nearest_name(modules: Path, names: tuple[str, ...], line: str) -> None:
    write(modules)
    with pytest.raises(SpecError) as caught:
        check_arguments(EngineSpec.create("org/model", max_num_seqs=3, **dict.fromkeys(names, 1)), "vllm")
    assert str(caught.value) == line


def test_what_is_accepted_passes(modules: Path) -> None:
    write(modules)
    check_arguments(EngineSpec.create("org/model", max_num_seqs=3, swap_space=1, chat_template_kwargs={}), "vllm")


def test_another_library_decides_itself(modules: Path) -> None:
    write(modules)
    check_arguments(EngineSpec.create("org/model", max_modl_len=3), "transformers")


def test_each_interpreter_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, name in (("old", "old_name"), ("new", "new_name")):
        write(tmp_path / folder, engine_args=ENGINE_ARGS.replace("max_num_seqs", name))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "old"))
    new = {"PYTHONPATH": str(tmp_path / "new")}
    check_arguments(EngineSpec.create("m", old_name=1), "vllm")
    check_arguments(EngineSpec.create("m", env=new, new_name=1), "vllm")
    for spec in (EngineSpec.create("m", new_name=1), EngineSpec.create("m", env=new, old_name=1)):
        with pytest.raises(SpecError, match="vLLM has no engine argument"):
            check_arguments(spec, "vllm")


def test_an_interpreter_is_asked_once(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(modules)
    asked = []
    run = arguments.subprocess.run
    monkeypatch.setattr(arguments.subprocess, "run", lambda *args, **kwargs: asked.append(args) or run(*args, **kwargs))
    for number in range(3):
        check_arguments(EngineSpec.create("m", max_num_seqs=number), "vllm")
    assert len(asked) == 1


@pytest.mark.parametrize(
    "body", ["exit 3", "echo no json", "echo '[]'", "echo '[\"/nowhere\"]'", 'echo \'["/a", "/b"]\'']
)
def test_an_interpreter_that_gives_no_answer_refuses_nothing(tmp_path: Path, body: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{body}\n")
    python.chmod(0o755)
    check_arguments(EngineSpec.create("m", python=python, max_modl_len=1), "vllm")


def test_one_that_cannot_be_started_refuses_nothing(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("no program")
    python.chmod(0o755)
    check_arguments(EngineSpec.create("m", python=python, max_modl_len=1), "vllm")


def test_a_module_instead_of_a_package_refuses_nothing(modules: Path) -> None:
    (modules / "vllm.py").write_text("LLM = None\n")
    check_arguments(EngineSpec.create("m", python=sys.executable, max_modl_len=1), "vllm")
