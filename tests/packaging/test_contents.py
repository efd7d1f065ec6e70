"""The checks of a wheel find what is wrong with one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.packaging import contents

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((contents.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
POINTS = b"[console_scripts]\nvllmperf = pytest_vllmperf.cli:main\n\n[pytest11]\nvllmperf = pytest_vllmperf.plugin\n"
INFO = "pytest_vllmperf-0.1.0.dist-info"


def wheel(**changed: str) -> dict[str, bytes]:
    """A sound wheel of the tree; keywords are fields of its metadata."""
    fields = {"Name": PROJECT["name"], "Version": PROJECT["version"], "Requires_Python": PROJECT["requires-python"]}
    fields |= {"License_Expression": PROJECT["license"], **changed}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    lines += [f"Provides-Extra: {name}" for name in PROJECT["optional-dependencies"]]
    info = {"METADATA": "\n".join(lines).encode(), "entry_points.txt": POINTS, "licenses/LICENSE": b""}
    return {**contents.of_tree(), **{f"{INFO}/{name}": content for name, content in info.items()}}


def wrong(packed: dict[str, bytes]) -> list[str]:
    return [*contents.wrong_files(packed, contents.of_tree()), *contents.wrong_metadata(packed, PROJECT)]


def test_a_sound_wheel_has_nothing_wrong() -> None:
    assert wrong(wheel()) == []
    assert list(contents.differences(wheel(), wheel())) == []


@pytest.mark.parametrize("name", contents.NEEDED)
def test_a_missing_file_is_found(name: str) -> None:
    packed = wheel()
    del packed[name]
    assert wrong(packed) == [f"{name} is missing in the wheel"]
    assert len(list(contents.differences(packed, wheel()))) == 1


def test_a_file_that_is_ours_nowhere_is_found() -> None:
    assert wrong({**wheel(), "tests/test_a.py": b""}) == ["tests/test_a.py is in the wheel, and not in the tree"]
    assert wrong({**wheel(), "pytest_vllmperf/plugin.py": b""}) == ["pytest_vllmperf/plugin.py is another file"]


def test_caches_are_no_files_of_the_package(tmp_path: Path) -> None:
    for name in ("a.py", ".mypy_cache/b.json", "c/__pycache__/d.pyc", "c/e.js"):
        file = tmp_path / contents.PACKAGE / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    assert sorted(contents.of_tree(tmp_path)) == [f"{contents.PACKAGE}/a.py", f"{contents.PACKAGE}/c/e.js"]


def test_other_metadata_are_found() -> None:
    (found,) = wrong(wheel(Version="9"))
    assert found.startswith("Version is ['9']")
    (found,) = wrong({**wheel(), f"{INFO}/entry_points.txt": POINTS.replace(b"pytest11", b"pytest12")})
    assert "pytest11" in found


def test_what_a_source_distribution_lacks_or_has_too_much_is_found() -> None:
    assert list(contents.wrong_sdist(set(contents.NEEDED_IN_SDIST))) == []
    (found,) = contents.wrong_sdist({*contents.NEEDED_IN_SDIST, ".nox/x"} - {"README.md"} | {"README.md"})
    assert found == ".nox/x is in the source distribution"
    assert len(list(contents.wrong_sdist(set()))) == len(contents.NEEDED_IN_SDIST)
