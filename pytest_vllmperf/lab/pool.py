"""The engine pool: one engine per spec, started once however many tests share it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.records.spec import EngineSpec

Key = tuple[EngineSpec, tuple[str, ...]]
"""An engine, and the devices it runs on."""


class EnginePool:
    """Keeps the engines that were asked for last.

    Args:
        start: starts an engine for a key.
    """

    def __init__(self, start: Callable[[Key], Engine]) -> None:
        self._start = start
        self._engines: dict[Key, Engine] = {}
        self.started = 0

    def __contains__(self, key: Key) -> bool:
        """Whether this engine runs."""
        return key in self._engines

    @property
    def keys(self) -> tuple[Key, ...]:
        """Of the engines that run."""
        return tuple(self._engines)

    def get(self, keys: Sequence[Key]) -> list[Engine]:
        """The engines of these keys, all of them running; every other engine is stopped first.

        A GPU rarely holds two models: what is not needed now makes room before anything is started.
        """
        for key in [key for key in self._engines if key not in keys]:
            self._engines.pop(key).close()
        for key in keys:
            if key not in self._engines:
                self._engines[key] = self._start(key)
                self.started += 1
        return [self._engines[key] for key in keys]

    def retire(self, keys: Sequence[Key]) -> None:
        """Stop engines that have done their part, so that the next one of their kind is a fresh one."""
        for key in keys:
            if key in self._engines:
                self._engines.pop(key).close()

    def discard(self, keys: Sequence[Key]) -> None:
        """End engines that failed or were interrupted; the next test gets a fresh one."""
        for key in keys:
            engine = self._engines.pop(key, None)
            if engine is not None:
                engine.kill()

    def close(self) -> None:
        """Stop all engines."""
        while self._engines:
            self._engines.popitem()[1].close()
