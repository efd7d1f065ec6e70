"""Engine arguments that vLLM does not know, found in its source: importing it to hear of a typo takes ten seconds.

Only a name that vLLM would certainly refuse is refused. Where its source is not as expected, vLLM itself decides.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.records.adapters import ARGUMENT as ADAPTERS
from pytest_vllmperf.records.spec import NOT_ENGINE_ARGS, EngineSpec

CHAT_ARGUMENTS = ("chat_template_content_format", "chat_template_kwargs")
"""Arguments of `LLM.chat`, which the child renders chats with; see `vllmperf_prompts`."""

_WHERE = Path(__file__).parent / "child" / "vllmperf_where.py"
_LOOKUP_TIMEOUT_S = 10.0
# Fields that `EngineArgs` has had since its first version: without them the source is read wrongly.
_EXPECTED = frozenset({"model", "max_model_len", "dtype"})
_Variables = tuple[tuple[str, str], ...]


def check_arguments(spec: EngineSpec, library: str) -> None:
    """Refuse engine arguments that vLLM certainly does not know.

    Args:
        spec: the engine.
        library: what runs it; only vLLM's arguments are known.

    Raises:
        SpecError: naming the arguments, and the nearest that exists.
    """
    if library != "vllm" or not spec.args:
        return
    known = _accepted_by(spec.python, interpreters_variables({**os.environ, **dict(spec.env)}))
    unknown = [] if known is None else sorted(set(spec.args) - known)
    if known is None or not unknown:
        return
    named = ", ".join(f"{name!r}{_nearest(name, known)}" for name in unknown)
    raise SpecError(f"{spec.name}: vLLM has no engine argument {named}")


def accepted(package: Path) -> frozenset[str] | None:
    """The names of all keywords that `vllm.LLM` accepts, or more; None where its source is not as expected.

    Args:
        package: vLLM's folder.
    """
    try:
        init = (package / "__init__.py").read_text(encoding="utf-8")
        arguments = _the_class(package / "engine" / "arg_utils.py", "EngineArgs")
        llm = _the_class(package / "entrypoints" / "llm.py", "LLM")
    except (OSError, ValueError, SyntaxError, RecursionError):
        return None
    if arguments is None or llm is None or "entrypoints.llm" not in init:
        return None
    fields, keywords = _fields(arguments), _keywords(llm)
    if fields is None or keywords is None or not fields >= _EXPECTED:
        return None
    return fields | keywords | {*CHAT_ARGUMENTS, ADAPTERS}


@lru_cache(maxsize=32)
def _accepted_by(python: str, variables: _Variables) -> frozenset[str] | None:
    """What the vLLM of an interpreter accepts; None where that is unknown."""
    try:
        answer = subprocess.run(
            [python, str(_WHERE), "vllm"],
            env={**os.environ, **dict(variables)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_LOOKUP_TIMEOUT_S,
            check=True,
        ).stdout
        folders = json.loads(answer)["folders"]
    except (OSError, ValueError, LookupError, TypeError, subprocess.SubprocessError):
        return None
    return accepted(Path(folders[0])) if len(folders) == 1 else None


def interpreters_variables(env: Mapping[str, str]) -> _Variables:
    """The variables that decide where an interpreter looks for packages."""
    return tuple(sorted((name, value) for name, value in env.items() if name.startswith("PYTHON")))


def _nearest(name: str, known: frozenset[str]) -> str:
    found = get_close_matches(name.lower(), [*known, *NOT_ENGINE_ARGS], n=1)
    return f" (did you mean {found[0]}?)" if found else ""


def _the_class(file: Path, name: str) -> ast.ClassDef | None:
    """The one class of that name at the top of a module."""
    body = ast.parse(file.read_bytes()).body
    found = [node for node in body if isinstance(node, ast.ClassDef) and node.name == name]
    return found[0] if len(found) == 1 else None


def _fields(node: ast.ClassDef) -> frozenset[str] | None:
    """The fields of a plain dataclass; None for any other class."""
    plain = not node.bases and not node.keywords and [_name(one) for one in node.decorator_list] == ["dataclass"]
    if not plain or _method(node, "__init__") is not None:
        return None
    annotated = [one.target for one in node.body if isinstance(one, ast.AnnAssign)]
    return frozenset(target.id for target in annotated if isinstance(target, ast.Name))


def _keywords(node: ast.ClassDef) -> frozenset[str] | None:
    """What the constructor takes itself; None unless it hands all other keywords to `EngineArgs`.

    Every string in it counts: it may take a keyword out of those that it hands on.
    """
    init = _method(node, "__init__")
    if init is None or init.args.kwarg is None:
        return None
    calls = [one for one in ast.walk(init) if isinstance(one, ast.Call) and _name(one) == "EngineArgs"]
    handed_on = [one.value for call in calls for one in call.keywords if one.arg is None]
    if not any(isinstance(value, ast.Name) and value.id == init.args.kwarg.arg for value in handed_on):
        return None
    own = {one.arg for one in [*init.args.args, *init.args.kwonlyargs]}
    strings = {one.value for one in ast.walk(init) if isinstance(one, ast.Constant) and isinstance(one.value, str)}
    return frozenset(own | strings)


def _method(node: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    return next((one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == name), None)


def _name(node: ast.expr) -> str | None:
    """What a decorator or call names: `dataclass`, `dataclass(...)`, `dataclasses.dataclass`."""
    node = node.func if isinstance(node, ast.Call) else node
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None
