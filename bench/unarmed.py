"""What adding the plugin costs a pytest run that does not ask for it: paired runs, with and without.

python bench/unarmed.py [PAIRS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT_MS = 15.0
HEAVY = ("torch", "vllm", "numpy", "scipy", "pydantic", "pynvml", "psutil")
WITHOUT = ["-p", "no:vllmperf"]
WITH = ["-p", "vllmperf"]
PROBE = f"""
import sys

def test_nothing():
    pass


def test_nothing_heavy_is_imported():
    assert not [name for name in {HEAVY!r} if name in sys.modules]
"""


def main() -> int:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_probe.py").write_text(PROBE)
        Path(folder, "pytest.ini").write_text("[pytest]\n")
        for arguments in (WITH, WITHOUT):
            seconds(folder, arguments)  # the first run of each compiles byte code
        with_plugin, without, differences = [], [], []
        for number in range(pairs):
            order = [WITH, WITHOUT] if number % 2 == 0 else [WITHOUT, WITH]
            taken = {tuple(arguments): seconds(folder, arguments) for arguments in order}
            with_plugin.append(taken[tuple(WITH)])
            without.append(taken[tuple(WITHOUT)])
            differences.append((taken[tuple(WITH)] - taken[tuple(WITHOUT)]) * 1e3)
    median = statistics.median(differences)
    low, _, high = statistics.quantiles(differences, n=4)
    print(f"unarmed run, {pairs} pairs: with {statistics.median(with_plugin) * 1e3:.0f} ms, "
          f"without {statistics.median(without) * 1e3:.0f} ms")  # fmt: skip
    print(f"difference, median of pairs: {median:.1f} ms (quartiles {low:.1f} to {high:.1f}; limit {LIMIT_MS:g})")
    return 0 if median <= LIMIT_MS else 1


def seconds(folder: str, arguments: list[str]) -> float:
    """One whole pytest process; the probe fails it when something heavy was imported."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # other plugins would only add noise to both sides
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
