"""A session that measures on real engines, for the tests of one module; import the fixture where it is wanted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.records.settings import DEFAULTS, Settings, Update


@pytest.fixture(scope="module")
def perf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("measured")
    opened = Lab(Settings(Update.NONE, folder, DEFAULTS, 600.0, 300.0), lambda doing, waited: None)
    yield opened
    opened.close()
