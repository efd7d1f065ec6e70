"""What single tests need that not every environment has."""

import importlib.util

import pytest

VLLM = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: nobody knows the names of its arguments"
)
