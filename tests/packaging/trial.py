"""What a wheel does in an environment of its own, without vLLM: `python -m tests.packaging.trial PYTHON`.

The command answers, pytest has the options, and a gate on the simulated engine is green, and red where it got slower.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

TEST = """
import pytest
from pytest_vllmperf import Workload

WORK = Workload.synthetic(requests=4, input_tokens=8, output_tokens=5)


@pytest.mark.vllm("sim", backend="simulated", step_seconds={seconds})
def test_chat(vllmperf):
    vllmperf.check(vllmperf.measure(WORK))
"""
PYTEST = ("-m", "pytest", "-p", "no:cacheprovider")


class TrialError(Exception):
    """A command that did not do what it should."""


def run(python: Path, folder: Path, *arguments: str, status: int = 0, says: str = "") -> str:
    """Run the environment's Python, away from the source tree.

    Raises:
        TrialError: for another exit status, or where the output does not say so.
    """
    command = [str(python), "-I", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    output = done.stdout + done.stderr
    if done.returncode != status or says not in output:
        raise TrialError(f"{' '.join(arguments)}: exit status {done.returncode}, not {status} with {says!r}\n{output}")
    return output


def main(python: Path) -> int:
    """Try all of it; the first failure ends it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        told = run(python, folder, "-c", "import pytest_vllmperf as p; print(p.__version__, p.__file__)")
        version, file = told.split()
        if "site-packages" not in file:
            raise TrialError(f"this is not the wheel that was installed: {file}")
        command = subprocess.run([python.parent / "vllmperf", "--version"], capture_output=True, text=True, check=True)
        if command.stdout.strip() != f"pytest-vllmperf {version}":
            raise TrialError(f"vllmperf --version says {command.stdout!r}")
        run(python, folder, *PYTEST, "--help", says="--vllmperf-update")
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "test_chat.py").write_text(TEST.format(seconds=0.01))
        run(python, folder, *PYTEST, says="1 skipped")
        run(python, folder, *PYTEST, "--vllmperf-update", says="RECORDED")
        run(python, folder, *PYTEST, "--vllmperf", says="OK")
        (folder / "test_chat.py").write_text(TEST.format(seconds=0.012))
        run(python, folder, *PYTEST, "--vllmperf", status=1, says="REGRESSED")
    print(f"{version}: vllmperf, pytest, recorded, green, red")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
