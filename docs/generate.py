"""Write the parts of the documentation that are made from the code: `python docs/generate.py`, or `nox -s docs`.

A part stands between two comments of a Markdown file, `<!-- NAME: ... -->` and `<!-- /NAME -->`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from pytest_vllmperf.harness.flags import OPTIONS, Option

ROOT = Path(__file__).parents[1]


def options_table() -> str:
    """The README's table of options."""
    rows = [_row(option) for option in OPTIONS]
    return "\n".join(["| option | marker | meaning | default |", "|---|---|---|---|", *rows])


def _row(option: Option) -> str:
    flag = option.flag_name if option.kind == "switch" else f"{option.flag_name}={option.value}"
    default = "off" if option.kind == "switch" else _code(option.default)
    meaning = re.sub(r"'([^']+)'", r"`\1`", option.help).replace("|", "\\|")
    marker = _code(f"{option.name}=" if option.marker else "")
    return f"| {_code(flag if option.flag else '')} | {marker} | {meaning} | {default} |"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


PARTS: Mapping[str, Mapping[str, Callable[[], str]]] = {"README.md": {"options": options_table}}
"""File -> name of the part -> what makes it."""


def made(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """A file's text with its parts made anew.

    Raises:
        ValueError: for a part that the text does not have, or has twice.
    """
    for name, make in parts.items():
        pattern = re.compile(rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if len(pattern.findall(text)) != 1:
            raise ValueError(f"no part, or more than one, is called {name!r}")
        text = pattern.sub(lambda found, make=make: f"{found[1]}{make()}\n{found[2]}", text)
    return text


def main() -> None:
    """Write every file that has such parts."""
    for name, parts in PARTS.items():
        file = ROOT / name
        file.write_text(made(file.read_text(encoding="utf-8"), parts), encoding="utf-8")
        print(f"written: {name}")


if __name__ == "__main__":
    main()
