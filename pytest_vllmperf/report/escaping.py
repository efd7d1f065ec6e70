"""Texts of others, made harmless for where they are shown: a terminal or a CI's log, Markdown, XML, a page. Pure.

Names, reasons and what engines say may hold anything: sequences that a terminal obeys, lines that a CI takes for
commands, signs that end a cell, characters that XML forbids. Each format has its one function.
"""

from __future__ import annotations

import html as html_module
import re

# C0 and C1, line and paragraph separators, signs that change the direction of writing, halves of surrogate pairs.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
_COMMAND = re.compile(r"^(\s*):(?=:)")  # GitHub: `::error::`, after spaces too
_MARKED = re.compile(r"#(?=#\w*\[)")  # GitHub, Azure and TeamCity: `##[error]`, `##vso[`, anywhere in a line
_XML_FORBIDS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_MARKDOWN = re.compile(r"[\\|`*<]|\](?=[(\[:])")


def terminal_line(text: str) -> str:
    r"""One line: control characters are shown as `\x1b` is, and no CI takes it for a command."""
    shown = _CONTROL.sub(_code, text.replace("\n", r"\n"))
    return _MARKED.sub(r"\\x23", _COMMAND.sub(r"\1\\x3a", shown))


def terminal_text(text: str) -> str:
    """Several lines, each as one."""
    return "\n".join(map(terminal_line, text.split("\n")))


def json_text(text: str) -> str:
    """JSON, in which control characters are escaped already, so that no CI takes a line of it for a command."""
    return _MARKED.sub(r"\\u0023", text)


def markdown(text: str) -> str:
    """A text in a line of Markdown, or in a cell of a table: on one line, with signs that mean something escaped."""
    line = " ".join(re.split(r"[\r\n\v\f\u0085\u2028\u2029]+", text))
    return _MARKDOWN.sub(r"\\\g<0>", _CONTROL.sub(_code, line))


def xml(text: str) -> str:
    r"""A text for an attribute of XML: what XML forbids is shown as `\x00` is."""
    return _XML_FORBIDS.sub(_code, text)


def html(text: str) -> str:
    r"""A text for an element or an attribute of a page; control characters are shown as `\x1b` is, lines are kept."""
    return html_module.escape(_CONTROL.sub(_code, text.replace("\r\n", "\n")), quote=True)


def plot_label(text: str) -> str:
    """A text in a plot: Plotly takes `<b>`, `<a href=...>` and `<br>` in it for markup."""
    line = _CONTROL.sub(_code, " ".join(text.split()))
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _code(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
