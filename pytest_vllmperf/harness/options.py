"""Flags, ini settings and call arguments -> frozen settings. Bad input is a `SpecError` before anything starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from _pytest.config.findpaths import locate_config  # how pytest finds its configuration

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.harness.flags import IN_MARKER, OPTIONS, PREFIX, Option
from pytest_vllmperf.harness.parsers import PARSERS, PARSERS_OF_TESTS
from pytest_vllmperf.history import opening
from pytest_vllmperf.records.parsing import Parser
from pytest_vllmperf.records.settings import AUTO, CheckSettings, Settings, Update

_BY_NAME = {option.name: option for option in OPTIONS}
_WHERE = ("baselines", "profile_name")
"""Options that say where baselines lie."""


def repeated(config: pytest.Config) -> tuple[str, ...]:
    """The arguments of this run that a command about the same baselines has to repeat."""
    given = [(option, config.getoption(option.ini_name)) for option in map(_BY_NAME.__getitem__, _WHERE)]
    return tuple(word for option, value in given if value for word in (option.flag_name, str(value)))


def is_worker(config: pytest.Config) -> bool:
    """Whether this is a worker of xdist, whose controller reports and writes."""
    return hasattr(config, "workerinput")


def is_verbose(config: pytest.Config) -> bool:
    """Whether pytest is to say more; without its terminal reporter it is not."""
    return int(config.getoption("verbose", 0)) > 0


def only_looks(config: pytest.Config) -> bool:
    """Whether no test function runs: `--collect-only`, `--setup-plan`, `--setup-only`."""
    return any(config.getoption(name, False) for name in ("collectonly", "setupplan", "setuponly"))


def in_force(config: pytest.Config) -> dict[str, str]:
    """Name -> what holds in this run, as a user would write it; without the options that a flag or ini cannot set.

    Args:
        config: whose options were read without an error.
    """
    return {
        option.name: _shown(option, _value(config, option)[1])
        for option in OPTIONS
        if option.fills != () and (option.flag or option.ini)
    }


def _shown(option: Option, given: Any) -> str:
    if option.kind == "switch":
        return "on" if given else "off"
    if given is None:
        return option.default
    if option.secret and given != option.default:
        return "set"
    return " ".join(map(str, given)) if isinstance(given, (list, tuple)) else str(given)


def settings(config: pytest.Config) -> Settings:
    """The run's settings, from flags over ini settings over defaults.

    Raises:
        SpecError: naming the flag or ini setting that is not valid.
    """
    _check_configuration(config)
    update = _update(config)
    if update is Update.NONE and config.getoption(_BY_NAME["reason"].ini_name) is not None:
        raise SpecError("--vllmperf-reason has no effect without --vllmperf-update; add it")
    of_tests = [option for option in OPTIONS if option.marker]
    of_run = [option for option in OPTIONS if not option.marker]
    check = CheckSettings(**_given(config, of_tests)).over(CheckSettings(**_defaults(of_tests)))
    found: dict[str, Any] = _defaults(of_run) | _given(config, of_run)
    found |= {name: config.rootpath / value for name, value in found.items() if isinstance(value, Path)}
    found["report_files"] = tuple(config.rootpath / file for file in found.get("report_files", ()))
    if found["history"]:
        found["history"] = _history(config, found["history"], found["report_files"])
    return Settings(update=update, check=check, **found)


def _history(config: pytest.Config, given: str, reports: Sequence[Path]) -> str:
    """The file or URL of the history; of a file, its path."""
    option = _BY_NAME["history"]
    if config.getoption(option.ini_name) is not None and not reports:
        raise SpecError(f"{option.flag_name} adds trends to a report; add --vllmperf-report=FILE")
    return opening.place("" if given == AUTO else given, config.rootpath)


def files(config: pytest.Config, name: str) -> tuple[Path, ...]:
    """The files that an option names; none where its value is not valid.

    Args:
        config: of the run; its other options may not be valid.
        name: of the option.
    """
    option = _BY_NAME[name]
    try:
        where, value = _value(config, option)
        found = None if value is None else PARSERS[option.parse](where, value)
    except SpecError:
        return ()
    return tuple(config.rootpath / file for file in (found if isinstance(found, tuple) else (found,)) if file)


def _check_configuration(config: pytest.Config) -> None:
    """See that pytest has read the configuration of the tests.

    It looks for that before it knows the options of plugins: a path behind a blank may be a test's as well, and then
    the file that lies near an interpreter counts, or none.
    """
    given = config.invocation_params.args
    if is_worker(config) or config.getoption("inifilename", None) or config.getoption("rootdir", None):
        return
    tests = [Path(argument.partition("::")[0]) for argument in config.args]
    here = config.invocation_params.dir
    wanted = locate_config(here, [here / path for path in tests if (here / path).exists()])[1]
    for option in OPTIONS:
        if wanted != config.inipath and option.flag_name in given[:-1]:
            value = given[given.index(option.flag_name) + 1]
            if (here / value).exists():
                read, right = config.inipath or "none", wanted or "none"
                raise SpecError(
                    f"write {option.flag_name}={value}, with '=' instead of a space: otherwise pytest takes the "
                    f"path for a test path when it looks for its configuration, and reads {read} instead of {right}"
                )


def _update(config: pytest.Config) -> Update:
    flags = [name for name in ("update", "update_new", "append") if config.getoption(PREFIX + name)]
    if flags[:1] == ["update"] and len(flags) > 1:
        other = _BY_NAME[flags[1]].flag_name
        raise SpecError(f"--vllmperf-update already records every test that runs; leave {other} out")
    return {"update": Update.ALL, "update_new": Update.NEW}.get(flags[0], Update.NONE) if flags else Update.NONE


def _defaults(options: Sequence[Option]) -> dict[str, Any]:
    """The fields that options fill where nobody says otherwise."""
    return {
        name: value
        for option in options
        if option.default or option.kind == "list"
        for name, value in _fields(option, f"default of {option.flag_name}", option.default).items()
    }


def _given(config: pytest.Config, options: Sequence[Option]) -> dict[str, Any]:
    """The fields that flags and ini settings fill."""
    found: dict[str, Any] = {}
    for option in options:
        where, value = _value(config, option)
        if value is not None:
            found |= _fields(option, where, value)
    return found


def _value(config: pytest.Config, option: Option) -> tuple[str, Any]:
    """Where a value was given, and the value; None where there is none."""
    value = config.getoption(option.ini_name) if option.flag else None
    if value is not None and value is not False:
        return option.flag_name, value
    if not option.ini:
        return option.flag_name, None
    where = f"ini setting {option.ini_name}"
    try:
        value = config.getini(option.ini_name)
    except (ValueError, TypeError, pytest.UsageError) as error:  # pytest's own words, which name the value
        raise SpecError(f"{where}: {error}; write true or false") from None
    return where, None if value in (None, "", []) or value is False else value


def _fields(option: Option, where: str, value: Any, parsers: Mapping[str, Parser] = PARSERS) -> dict[str, Any]:
    """The fields that a value fills; of an option that fills several, its parser returns as many."""
    parsed = parsers[option.parse](where, value) if option.parse else value
    values = parsed if len(option.fields) > 1 else [parsed] * len(option.fields)
    return dict(zip(option.fields, values, strict=True))


def call_settings(**given: object) -> CheckSettings:
    """Check what a marker or a call was given.

    Args:
        given: by the names of the options that a marker takes; None for what was left out.

    Raises:
        SpecError: for an unknown name, or a value that is not valid.
    """
    known = {option.name: option for option in IN_MARKER}
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise SpecError(f"unknown keyword {name!r}; known are {', '.join(known)}")
        if value is not None:
            found |= _fields(known[name], name, value, PARSERS_OF_TESTS)
    return CheckSettings(**found)
