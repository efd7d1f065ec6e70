"""The rules that a user turns off, by name."""

from __future__ import annotations

from typing import Any

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.records.parsing import words
from pytest_vllmperf.records.problems import RULES


def rule_names(where: str, value: Any) -> tuple[str, ...]:
    """The names of validity rules, each once; none means that all rules hold.

    Raises:
        SpecError: naming `where` and what is no rule.
    """
    names = dict.fromkeys(words(where, value, "rules"))
    for name in names:
        if name not in RULES:
            raise SpecError(f"{where}: no validity rule has the name {name!r}; rules: {', '.join(RULES)}")
    return tuple(names)
