"""`Redactor`: takes out of texts what is secret, by the values that a run knows and by what looks like a secret."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pytest_vllmperf.records.masking import (
    MASK,
    is_secret_name,
    is_secret_variable,
    masked_assignments,
    masked_text,
    secrets_in,
)
from pytest_vllmperf.records.spec import EngineSpec

LEAST = 6
"""Characters that a value has at least to be looked for: a shorter one stands in too many words."""

_PART = 8
# Variables whose values an engine's log may show, unless their name or content is a secret's.
_HARMLESS = re.compile(
    "(VLLM|OMP|GOMP|KMP|MKL|OPENBLAS|NUMEXPR|NCCL|GLOO|UCX|CUDA|CUBLAS|CUDNN|TORCH|TORCHINDUCTOR|PYTORCH|TRITON|RAY"
    "|PYTHON|LC|XDG|TRANSFORMERS|TOKENIZERS|SAFETENSORS|LD)_.*|PYTHON[A-Z]+|PATH|HOME|LANG|TMPDIR|TZ"
    "|HF_(HOME|HUB_.*|DATASETS_.*|MODULES_CACHE|XET_.*|ENABLE_.*)"
)
_NUMBER = re.compile(r"[\d.,:+-]+")


class Redactor:
    """Takes out of texts what is secret. One for each process of a run, which learns every engine that is named.

    Args:
        environ: of the process, looked at anew each time.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._seen: tuple[tuple[str, str], ...] = ()
        self._values: set[str] = set()
        self._known: tuple[str, ...] = ()

    def learn(self, spec: EngineSpec) -> None:
        """Take in the secrets of an engine: of its variables, of its arguments by name and content, and its key."""
        for name, value in spec.env:
            if _is_secret(name, value):
                self._add(value)
        for arguments in (spec.args, *spec.args_by_gpu):
            for name, value in arguments.items():
                for secret in secrets_in(name, value):
                    self._add(secret)
        variable = spec.args.get("api_key_env")
        if isinstance(variable, str) and (key := {**self._environ, **dict(spec.env)}.get(variable)):
            self._add(key)
        for text in (spec.model, spec.engine_args, *(own for _, own in spec.per_gpu)):
            for url in re.findall(r"[A-Za-z][\w+.-]{0,30}://[^\s\"'\\]+", text):
                self._add_password(url)

    def learn_url(self, url: str) -> None:
        """Take in the secrets of a URL: its password, and what its query has under the name of a secret."""
        self._add_password(url)
        query = urlsplit(url).query if "://" in url else ""
        for name, value in parse_qsl(query):
            if is_secret_name(name) and len(value) >= LEAST:
                self._add(value)

    def text(self, text: str) -> str:
        """A text for a person, such as an error or a test's report, without secrets."""
        return masked_text(self._without_values(text))

    def log(self, text: str) -> str:
        """What a program printed; it may name secrets that this run does not know, such as in a configuration."""
        return masked_assignments(self._without_values(text))

    def _add(self, value: str) -> None:
        self._values.update(one for one in _forms(value) if len(one) >= LEAST)
        self._add_password(value)

    def _add_password(self, url: str) -> None:
        try:
            password = urlsplit(url).password or ""
        except ValueError:
            return
        self._values.update(one for one in (password, unquote(password)) if len(one) >= LEAST)

    def _without_values(self, text: str) -> str:
        self._look_at_environ()
        if len(self._known) != len(self._values):
            self._known = tuple(sorted(self._values, key=len, reverse=True))
        for value in self._known:  # the longest first: one may be part of another
            text = _without_beginnings(text.replace(value, MASK), value)
        return text

    def _look_at_environ(self) -> None:
        now = tuple(self._environ.items())
        if now == self._seen:
            return
        self._seen = now
        for name, value in now:
            if len(value) >= LEAST and is_secret_variable(name):
                self._add(value)


def _is_secret(name: str, value: str) -> bool:
    if is_secret_variable(name) or masked_text(value) != value:
        return True
    return not _HARMLESS.fullmatch(name) and not _NUMBER.fullmatch(value)


def _forms(value: str) -> Iterator[str]:
    """A value as programs print it: as it is, in a literal of Python or JSON, in a URL, by line."""
    for one in (value, repr(value)[1:-1], json.dumps(value)[1:-1]):
        yield from (one, repr(one)[1:-1], json.dumps(one)[1:-1])
    with suppress(UnicodeEncodeError):  # half of a surrogate pair
        yield from (quote(value), quote(value, safe=""))
    if "\n" in value:
        yield from (line.strip() for line in value.splitlines())


def _without_beginnings(text: str, value: str) -> str:
    """A text without the beginnings of a value where it was cut short: at a line's end, or before an ellipsis."""
    head = value[:_PART]
    if len(value) <= _PART or head not in text:
        return text
    rest = value[_PART : _PART + 64]
    longer = "".join(f"(?:{re.escape(sign)}" for sign in rest) + ")?" * len(rest)
    return re.sub(rf"{re.escape(head)}{longer}(?=\s*$|\.\.\.|…)", MASK, text, flags=re.MULTILINE)
