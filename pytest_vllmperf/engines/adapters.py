"""What is known of an engine's LoRA adapters before it starts."""

from __future__ import annotations

from pathlib import Path

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.models.adapters import CONFIG
from pytest_vllmperf.records.adapters import ARGUMENT, adapters
from pytest_vllmperf.records.spec import EngineSpec


def check_adapters(spec: EngineSpec) -> None:
    """See that the adapters of an engine can be loaded, as far as that is known here.

    Raises:
        SpecError: for adapters without `enable_lora=True`, or a local path that holds none.
    """
    found = adapters(spec.args)
    if found and spec.args.get("enable_lora") is not True:
        raise SpecError(f"{ARGUMENT} needs enable_lora=True; add it to the engine's arguments")
    for name, path in found.items():
        folder = Path(path).expanduser()
        local = folder.is_dir() or path.startswith(("/", "./", "../", "~"))
        if local and not (folder / CONFIG).is_file():
            raise SpecError(f"{ARGUMENT}: adapter {name!r}: {path} has no {CONFIG}; name the folder of a LoRA adapter")
