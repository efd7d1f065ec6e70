"""From a run of pytest to the history of its results."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

MARK = '@pytest.mark.vllm("sim", backend="simulated", step_seconds={})'
COMMAND = [sys.executable, "-c", "import sys; from pytest_vllmperf import cli; sys.exit(cli.main())", "history"]


def test_a_run_that_records_and_one_that_judges(project: Project) -> None:
    body = "{}\ndef test_a(vllmperf):\n    vllmperf.check(vllmperf.measure(WORK))\n"
    project.module(body.format(MARK.format(0.01)))
    project.run("--vllmperf-update", "--vllmperf-json=first.json")
    project.module(body.format(MARK.format(0.02)))
    assert project.run("--vllmperf", "--vllmperf-json=second.json").ret == 1
    (baseline,) = project.root.glob("baselines/*/**/*.json")
    files = ["first.json", "second.json", str(baseline.relative_to(project.root))]
    done = subprocess.run([*COMMAND, "add", *files], cwd=project.root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].endswith("already in vllmperf-history.db; nothing was added")
    done = subprocess.run([*COMMAND, "show", "--json"], cwd=project.root, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["runs"] == 2
    throughput = next(one for one in found["series"] if one["metric"] == "output_throughput")
    before, after = (value["value"] for value in throughput["values"])
    assert before > 1.8 * after
    assert throughput["gated"]
    assert throughput["test"].endswith("::test_a")
