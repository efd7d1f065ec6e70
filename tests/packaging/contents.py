"""What is in the files that are published: `python -m tests.packaging.contents SDIST WHEEL WHEEL_OF_THE_TREE`.

The wheel has every file of the package and nothing else, whether it is made of the source distribution or of the tree;
its metadata are those of pyproject.toml.
"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from email import message_from_bytes
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = "pytest_vllmperf"
NEEDED = (f"{PACKAGE}/py.typed", f"{PACKAGE}/plugin.py", f"{PACKAGE}/engines/child/vllmperf_offline.py")
"""Files without which the package does not work, and which a rule for source files could leave out."""
NEEDED_IN_SDIST = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "conftest.py")


def of_wheel(file: Path) -> dict[str, bytes]:
    """The files of a wheel."""
    with zipfile.ZipFile(file) as packed:
        return {name: packed.read(name) for name in packed.namelist() if not name.endswith("/")}


def of_sdist(file: Path) -> set[str]:
    """The names of the files of a source distribution, below its folder."""
    with tarfile.open(file) as packed:
        return {one.name.partition("/")[2] for one in packed.getmembers() if one.isfile()}


def of_tree(root: Path = ROOT) -> dict[str, bytes]:
    """The files of the package in the tree, without what Python and mypy keep beside them."""
    files = {one.relative_to(root): one for one in (root / PACKAGE).rglob("*") if one.is_file()}
    kept = {name: one for name, one in files.items() if not any(_is_cache(part) for part in name.parts)}
    return {str(name): one.read_bytes() for name, one in kept.items()}


def _is_cache(part: str) -> bool:
    return part == "__pycache__" or part.startswith(".")


def wrong_files(wheel: Mapping[str, bytes], tree: Mapping[str, bytes]) -> Iterator[str]:
    """How the package in a wheel differs from the tree."""
    packed = {name: content for name, content in wheel.items() if ".dist-info/" not in name}
    yield from (f"{name} is missing in the wheel" for name in sorted({*tree, *NEEDED} - set(packed)))
    yield from (f"{name} is in the wheel, and not in the tree" for name in sorted(set(packed) - set(tree)))
    yield from (f"{name} is another file" for name in sorted(set(packed) & set(tree)) if packed[name] != tree[name])


def wrong_metadata(wheel: Mapping[str, bytes], project: Mapping[str, object]) -> Iterator[str]:
    """How the metadata of a wheel differ from the table `project` of pyproject.toml."""
    info = {name.partition("/")[2]: content for name, content in wheel.items() if ".dist-info/" in name}
    said = message_from_bytes(info["METADATA"])
    wanted = {
        "Name": [project["name"]],
        "Version": [project["version"]],
        "Requires-Python": [project["requires-python"]],
        "License-Expression": [project["license"]],
        "Provides-Extra": sorted(project["optional-dependencies"]),  # type: ignore[call-overload]
    }
    for name, values in wanted.items():
        if (found := sorted(said.get_all(name, []))) != values:
            yield f"{name} is {found}, not {values}"
    points = info["entry_points.txt"].decode()
    for line in (
        "[pytest11]\nvllmperf = pytest_vllmperf.plugin",
        "[console_scripts]\nvllmperf = pytest_vllmperf.cli:main",
    ):
        if line not in points:
            yield f"no entry point {line!r}"
    if "licenses/LICENSE" not in info:
        yield "no license"


def differences(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> Iterator[str]:
    """Files in which two wheels differ."""
    names = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
    yield from (f"{name}: the wheel of the source distribution is not that of the tree" for name in names)


def wrong_sdist(names: set[str]) -> Iterator[str]:
    """What a source distribution lacks, or should not have."""
    yield from (f"{name} is missing in the source distribution" for name in NEEDED_IN_SDIST if name not in names)
    kept = (".nox/", ".git/", "build/", "baselines/")
    yield from (f"{name} is in the source distribution" for name in sorted(names) if name.startswith(kept))
    yield from (f"{name} is in the source distribution" for name in sorted(names) if "__pycache__" in name)


def main(arguments: Sequence[str]) -> int:
    """Check the files, and say what is wrong; 1 where anything is."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    files = [Path(one) for one in arguments]
    (sdist,) = (one for one in files if one.name.endswith(".tar.gz"))
    wheel, of_the_tree = (of_wheel(one) for one in files if one.suffix == ".whl")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = [
        *wrong_files(wheel, of_tree()),
        *wrong_metadata(wheel, project),
        *differences(wheel, of_the_tree),
        *wrong_sdist(of_sdist(sdist)),
    ]
    for line in found:
        print(line)
    print(f"{len(wheel)} files in the wheel, {sum(map(len, wheel.values())) / 2**20:.1f} MiB: {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
