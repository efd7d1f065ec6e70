"""NVML: devices, what a test may ask of them, and what they do while an engine works."""

from pytest_vllmperf.gpu.device import GpuDevice, devices, held_by, hidden, installed, look, visible
from pytest_vllmperf.gpu.requirement import GpuRequirement, parse_size
from pytest_vllmperf.gpu.sampler import Sampler

__all__ = [
    "GpuDevice",
    "GpuRequirement",
    "Sampler",
    "devices",
    "held_by",
    "hidden",
    "installed",
    "look",
    "parse_size",
    "visible",
]
