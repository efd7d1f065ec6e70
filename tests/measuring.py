"""What tests on real engines share: the arguments of a tiny engine, and a session to import as a fixture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.records.settings import DEFAULTS, Settings, Update

TINY: dict[str, Any] = {
    "dtype": "float32",
    "enforce_eager": True,
    "max_model_len": 512,
    "max_num_seqs": 8,
    "kv_cache_memory_bytes": 64 * 2**20,
}
"""Engine arguments of the tiny model: a small cache, no compilation."""
SERVER_PROCESS = "vllmperf_forkserver.py"
"""The one Python program that starts all engines of an interpreter."""


@pytest.fixture(scope="module")
def perf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("measured")
    opened = Lab(Settings(Update.NONE, folder, DEFAULTS, 600.0, 300.0), lambda doing, waited: None)
    yield opened
    opened.close()


class ColdCache:
    """An empty cache of vLLM's, as in a fresh container, and a record of which Python programs an engine started.

    Args:
        folder: to be made.

    Attributes:
        env: variables for an engine.
    """

    def __init__(self, folder: Path) -> None:
        self._cache = folder / "cache"
        self._started = folder / "started"
        modules = folder / "modules"
        modules.mkdir(parents=True)
        note = f"import json, sys\nwith open({str(self._started)!r}, 'a') as file:\n"
        # Python imports this module whenever it starts; of those that have one, the first on the path.
        (modules / "sitecustomize.py").write_text(note + "    print(json.dumps(sys.orig_argv[1:]), file=file)\n")
        self.env = {"VLLM_CACHE_ROOT": str(self._cache), "PYTHONPATH": str(modules)}

    def programs(self) -> list[str]:
        """Python programs that were started with these variables: a script's name, or all arguments where it is none.

        What an engine forks is not among them.
        """
        commands = [json.loads(line) for line in self._started.read_text().splitlines()]
        return [Path(one[0]).name if one[0].endswith(".py") else " ".join(one) for one in commands]

    def classes(self) -> list[str]:
        """Models' classes that vLLM has looked at, as it names the files of what it found."""
        return [file.stem for file in (self._cache / "modelinfos").glob("*.json")]
