"""Checkpoints: those that the package makes itself, and where others lie."""

from pytest_vllmperf.models.adapters import adapter_digest, make_adapter
from pytest_vllmperf.models.location import check_location
from pytest_vllmperf.models.make import PREFIX, cache_folder, make_model, names, resolve
from pytest_vllmperf.models.quantization import QUANTIZATIONS
from pytest_vllmperf.models.shapes import SHAPES, Shape

__all__ = [
    "PREFIX",
    "QUANTIZATIONS",
    "SHAPES",
    "Shape",
    "adapter_digest",
    "cache_folder",
    "check_location",
    "make_adapter",
    "make_model",
    "names",
    "resolve",
]
