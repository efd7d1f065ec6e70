"""What single tests need that not every environment has."""

import importlib.util

import pytest

VLLM = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: nobody knows the names of its arguments"
)
_OF_SERVE = ("uvloop", "httptools", "orjson", "prometheus_client", "jsonschema")
SERVE = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in _OF_SERVE), reason="the extra serve is not installed"
)
