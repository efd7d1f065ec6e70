"""What tests of GPUs have in common: pynvml on top of a library without a driver."""

from __future__ import annotations

from collections.abc import Iterator

import pynvml
import pytest

from tests.gpu.fake_nvml import FakeGpu, FakeNvml


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNvml]:
    """An H200 that idles; whoever opens NVML has to close it again."""
    library = FakeNvml(FakeGpu())
    monkeypatch.setattr(pynvml, "nvmlLib", library)
    monkeypatch.setattr(pynvml, "_nvmlLib_refcount", 0)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    words = dict(pynvml.NVMLError._errcode_to_string)  # pynvml adds what a library calls an error
    monkeypatch.setattr(pynvml.NVMLError, "_errcode_to_string", words)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield library
    assert library.opened == 0


@pytest.fixture
def no_library(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without NVML."""

    def not_there(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "CDLL", not_there)
