"""Fixtures for everything below the repository's root."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_vllmperf.harness import flags

pytest_plugins = ["pytester"]


def pytest_configure(config: pytest.Config) -> None:
    """No test fails for the time that an example takes: that depends on what else the machine does."""
    if config.pluginmanager.hasplugin("hypothesispytest"):
        from hypothesis import settings

        settings.register_profile("any-machine", deadline=None)
        settings.load_profile("any-machine")


@pytest.fixture(scope="session", autouse=True)
def _own_locks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Lock files that no other run sees; of what tests start, too, which inherits the environment.

    Armed runs and tests of hardware measure on this machine's GPUs: they wait for them as any other run does.
    """
    if flags.armed(request.config) or any(item.get_closest_marker("hardware") for item in request.session.items):
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLMPERF_LOCKS", str(tmp_path_factory.mktemp("locks")))
        yield
