"""What tests on real engines share: the arguments of a tiny engine, and a session to import as a fixture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
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
NOTE_OF_IMPORTERS = """
import json, sys

class Importers:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("vllm."):
            sys.meta_path.remove(self)
            with open({file!r}, "a") as file:
                print(json.dumps(sys.orig_argv[1:]), file=file)

sys.meta_path.insert(0, Importers())
"""
"""Notes the arguments of a Python program that imports a part of vLLM."""


@contextmanager
def fresh_session(folder: Path) -> Iterator[Lab]:
    """A session that begins now."""
    opened = Lab(Settings(Update.NONE, folder, DEFAULTS, 600.0, 300.0), lambda doing, waited: None)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture(scope="module")
def perf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with fresh_session(tmp_path_factory.mktemp("measured")) as opened:
        yield opened


class ColdCache:
    """An empty cache of vLLM's, as in a fresh container, and a record of the Python programs that import vLLM.

    Args:
        folder: to be made.

    Attributes:
        env: variables for an engine.
    """

    def __init__(self, folder: Path) -> None:
        self._cache = folder / "cache"
        self._importers = folder / "importers"
        modules = folder / "modules"
        modules.mkdir(parents=True)
        # Python imports this module whenever it starts; of those that have one, the first on the path.
        (modules / "sitecustomize.py").write_text(NOTE_OF_IMPORTERS.format(file=str(self._importers)))
        self.env = {"VLLM_CACHE_ROOT": str(self._cache), "PYTHONPATH": str(modules)}

    def importers(self) -> list[str]:
        """Programs that imported vLLM with these variables: a script's name, or all arguments where it is none.

        What an engine forks has it imported, and is not among them.
        """
        commands = [json.loads(line) for line in self._importers.read_text().splitlines()]
        return [Path(one[0]).name if one[0].endswith(".py") else " ".join(one) for one in commands]

    def classes(self) -> list[str]:
        """Models' classes that vLLM has looked at, as it names the files of what it found."""
        return [file.stem for file in (self._cache / "modelinfos").glob("*.json")]
