"""Flags, ini settings and call arguments -> frozen settings. Bad input is a `SpecError` before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.harness.flags import PREFIX
from pytest_vllmperf.records.settings import AUTO, DEFAULTS, CheckSettings, Settings, Update


def repeated(config: pytest.Config) -> tuple[str, ...]:
    """The arguments of this run that a command about the same baselines has to repeat."""
    folder = config.getoption(PREFIX + "baselines")
    return ("--vllmperf-baselines", str(folder)) if folder else ()


def settings(config: pytest.Config) -> Settings:
    """The run's settings, from flags over ini settings over defaults.

    Raises:
        SpecError: naming the flag or ini setting that cannot be meant.
    """
    given = {name: _setting(config, name, parse) for name, parse in _PARSERS.items()}
    update = _update(config)
    root = Path(given["baselines"] or "baselines")
    margin, by_metric = given["margin"] or (None, {})
    check = CheckSettings(given["iterations"], given["warmup"], margin, by_metric, given["gate"], allow=given["allow"])
    return Settings(
        update=update,
        baselines=root if root.is_absolute() else config.rootpath / root,
        check=check.over(DEFAULTS),
        append=bool(config.getoption(PREFIX + "append")),
        reason=_reason(config, update),
        engines=given["engines"] or Settings.engines,
        max_engines=given["max_engines"] or Settings.max_engines,
        max_time=Settings.max_time if given["max_time"] is None else given["max_time"],
        noisy_fails=given["noisy"] == "fail",
        scorecards=config.rootpath / given["scorecards"] if given["scorecards"] else None,
        require_gpu=_require_gpu(config),
        gpu_hour_price=given["gpu_hour_price"],
        start_timeout=given["start_timeout"] or 900.0,
        operation_timeout=given["operation_timeout"] or 600.0,
    )


def _update(config: pytest.Config) -> Update:
    flags = [name for name in ("update", "update_new", "append") if config.getoption(PREFIX + name)]
    if flags[:1] == ["update"] and len(flags) > 1:
        other = flags[1].replace("_", "-")
        raise SpecError(f"--vllmperf-update records everything that runs; leave --vllmperf-{other} out")
    return {"update": Update.ALL, "update_new": Update.NEW}.get(flags[0], Update.NONE) if flags else Update.NONE


def _reason(config: pytest.Config, update: Update) -> str:
    reason = config.getoption(PREFIX + "reason")
    if reason is None:
        return ""
    if update is Update.NONE:
        raise SpecError("--vllmperf-reason says why baselines are recorded: add --vllmperf-update")
    if not reason.strip():
        raise SpecError("--vllmperf-reason is empty")
    return str(reason).strip()


def _require_gpu(config: pytest.Config) -> bool:
    if config.getoption(PREFIX + "require_gpu"):
        return True
    try:
        return bool(config.getini(PREFIX + "require_gpu"))
    except (ValueError, TypeError, pytest.UsageError) as error:  # pytest's own words, which name the value
        raise SpecError(f"ini setting {PREFIX}require_gpu: {error}; write true or false") from None


def _setting(config: pytest.Config, name: str, parse: Callable[[str, Any], Any]) -> Any:
    option = config.getoption(PREFIX + name)
    if option is not None:
        return parse(f"--vllmperf-{name.replace('_', '-')}", option)
    ini = config.getini(PREFIX + name)
    return None if ini in (None, "", []) else parse(f"ini setting {PREFIX}{name}", ini)


def _count(lowest: int) -> Callable[[str, Any], int]:
    def parse(where: str, value: Any) -> int:
        try:
            number = int(str(value))
        except ValueError:
            number = lowest - 1
        if number < lowest or isinstance(value, (bool, float)):
            raise SpecError(f"{where}: {value!r} is not a whole number of at least {lowest}")
        return number

    return parse


def _number(lowest: float, *, exclusive: bool) -> Callable[[str, Any], float]:
    def parse(where: str, value: Any) -> float:
        try:
            number = float("nan") if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if not (number > lowest if exclusive else number >= lowest) or number == float("inf"):
            raise SpecError(f"{where}: {value!r} is not a number {'above' if exclusive else 'of at least'} {lowest:g}")
        return number

    return parse


def gate_words(where: str, value: Any) -> tuple[str, ...]:
    """The words of a gate.

    Raises:
        SpecError: naming `where` and the word that names no metric and no set.
    """
    from pytest_vllmperf.metrics.table import resolve_gate

    words = tuple(_listed(where, value, "metric names"))
    if not words:
        raise SpecError(f"{where}: names no metric, so that nothing would be gated")
    try:
        resolve_gate(words, "cpu")
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from None
    return words


def rule_names(where: str, value: Any) -> tuple[str, ...]:
    """The names of validity rules, each once; none is a way of saying that all rules hold.

    Raises:
        SpecError: naming `where` and what is no rule.
    """
    from pytest_vllmperf.records.problems import RULES

    names = dict.fromkeys(_listed(where, value, "rules"))
    for name in names:
        if name not in RULES:
            raise SpecError(f"{where}: no rule is called {name!r}; rules: {', '.join(RULES)}")
    return tuple(names)


def _listed(where: str, value: Any, of: str) -> list[str]:
    """The words of a text, or of all texts of a list."""
    if not isinstance(value, (str, list, tuple)):
        raise SpecError(f"{where}: {value!r} is not a list of {of}")
    listed = [value] if isinstance(value, str) else value
    return [word for item in listed for word in str(item).replace(",", " ").split()]


def _text(where: str, value: Any) -> str:  # noqa: ARG001 - the shape of a parser
    return str(value)


def _warmup(where: str, value: Any) -> int | Literal["auto"]:
    if value == AUTO:
        return AUTO
    try:
        return _count(0)(where, value)
    except SpecError as error:
        raise SpecError(f"{error}, nor 'auto'") from None


def margins(where: str, value: Any) -> tuple[float | None, dict[str, float]]:
    """A margin for all metrics, margins by metric, or both: `0.05 ttft.p50=0.1`.

    Raises:
        SpecError: naming `where` and what cannot be meant.
    """
    general, by_metric = None, {}
    for word in str(value).replace(",", " ").split():
        metric, separator, number = word.rpartition("=")
        if separator:
            _check_metric(where, metric)
            by_metric[metric] = _MARGIN(f"{where}: margin of {metric}", number)
        else:
            general = _MARGIN(where, number)
    if general is None and not by_metric:
        raise SpecError(f"{where}: names no margin")
    return general, by_metric


def _check_metric(where: str, name: str) -> None:
    from pytest_vllmperf.metrics.table import METRICS

    if name not in METRICS:
        raise SpecError(f"{where}: no metric is called {name!r}; metrics: {', '.join(METRICS)}")


def _choice(*words: str) -> Callable[[str, Any], str]:
    def parse(where: str, value: Any) -> str:
        if value not in words:
            raise SpecError(f"{where}: {value!r} is none of {', '.join(words)}")
        return str(value)

    return parse


_ITERATIONS, _ENGINES = _count(1), _count(1)
_MARGIN, _SECONDS = _number(0, exclusive=False), _number(0, exclusive=True)
_PARSERS: dict[str, Callable[[str, Any], Any]] = {
    "baselines": _text,
    "scorecards": _text,
    "iterations": _ITERATIONS,
    "warmup": _warmup,
    "margin": margins,
    "gate": gate_words,
    "allow": rule_names,
    "gpu_hour_price": _number(0, exclusive=True),
    "engines": _ENGINES,
    "max_engines": _ENGINES,
    "max_time": _number(0, exclusive=False),
    "noisy": _choice("warn", "fail"),
    "start_timeout": _SECONDS,
    "operation_timeout": _SECONDS,
}


def call_settings(
    *,
    iterations: object = None,
    warmup: object = None,
    margin: object = None,
    gate: object = None,
    unsupported: object = None,
    allow: object = None,
) -> CheckSettings:
    """Check what a marker or a call was given.

    Raises:
        SpecError: for a count, margin, metric or rule that cannot be meant.
    """
    by_metric = dict(margin) if isinstance(margin, Mapping) else {}
    for name in by_metric:
        _check_metric("margin", name)
    return CheckSettings(
        iterations=None if iterations is None else _ITERATIONS("iterations", iterations),
        warmup=None if warmup is None else _warmup("warmup", warmup),
        margin=None if margin is None or by_metric or margin == {} else _MARGIN("margin", margin),
        margins={name: _MARGIN(f"margin of {name}", value) for name, value in by_metric.items()},
        gate=None if gate is None else gate_words("gate", gate),
        unsupported=None if unsupported is None else _choice("fail", "skip")("unsupported", unsupported),
        allow=None if allow is None else rule_names("allow", allow),
    )
