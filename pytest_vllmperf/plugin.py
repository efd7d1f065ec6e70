"""pytest's hooks and the `vllmperf` fixture. Each delegates; an unarmed run imports next to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf.harness import flags, machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_vllmperf.harness.fixture import VllmPerf
    from pytest_vllmperf.harness.session_fixture import VllmPerfSession


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare flags and ini settings."""
    flags.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers; an armed run has more hooks, which live in `armed`."""
    for marker in flags.MARKERS:
        config.addinivalue_line("markers", marker)
    if flags.armed(config):
        from pytest_vllmperf.harness import armed

        armed.register(config)
    elif problem := flags.pointless(config):
        raise pytest.UsageError(problem)


def pytest_report_header(config: pytest.Config) -> str:
    """Device, driver, vLLM's version, armed or not."""
    driver, version = machine.driver(), machine.vllm_version()
    words = [
        "armed" if flags.armed(config) else "not armed (--vllmperf)",
        machine.device(),
        *([f"driver {driver}"] if driver else []),
        f"vLLM {version}" if version else "vLLM not installed",
    ]
    return f"vllmperf: {', '.join(words)}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each point of a `sweep` marker."""
    if metafunc.definition.get_closest_marker("sweep") is not None:
        from pytest_vllmperf.harness import sweeping

        sweeping.parametrize(metafunc)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip performance tests unless armed."""
    if not flags.armed(config):
        for item in items:
            if not {flags.FIXTURE, flags.SESSION_FIXTURE}.isdisjoint(getattr(item, "fixturenames", ())):
                item.add_marker(pytest.mark.skip(reason=flags.NOT_ARMED))


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info: dict[str, object]) -> None:
    """Tell pytest-benchmark's files which accelerator and which vLLM there was."""
    machine_info["vllmperf"] = {
        "device": machine.device(),
        "driver": machine.driver(),
        "vllm": machine.vllm_version(),
    }


@pytest.fixture
def vllmperf(request: pytest.FixtureRequest) -> Iterator[VllmPerf]:
    """Measure vLLM engines, check them against the stored baseline, compare two of them."""
    if not flags.armed(request.config):  # asked for while the test ran
        pytest.skip(flags.NOT_ARMED)
    from pytest_vllmperf.harness import armed

    yield from armed.fixture(request.config, request.node)


@pytest.fixture(scope="session")
def vllmperf_session(request: pytest.FixtureRequest) -> VllmPerfSession:
    """Measure vLLM engines once for several tests, in a fixture of session or module scope."""
    if not flags.armed(request.config):  # asked for while a test ran
        pytest.skip(flags.NOT_ARMED)
    from pytest_vllmperf.harness import armed

    return armed.session_fixture(request.config)
