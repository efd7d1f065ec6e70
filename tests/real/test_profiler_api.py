"""What the recorder of a device pass asks of torch's profiler: the real one, here with the activities of a CPU."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

from pytest_vllmperf.engines import forkserver

CHILD = Path(forkserver.__file__).parent / "child"
RECORD = """
import json, sys
import torch
from types import SimpleNamespace

class Instead:
    # torch, with a CPU in the place of its GPU: what runs between two markers is on the host
    cuda = SimpleNamespace(synchronize=lambda: None, _sleep=lambda _: mark())
    autograd = SimpleNamespace(DeviceType=SimpleNamespace(CUDA=torch.autograd.DeviceType.CPU))
    profiler = SimpleNamespace(
        profile=torch.profiler.profile,
        ProfilerActivity=SimpleNamespace(CUDA=torch.profiler.ProfilerActivity.CPU),
    )

def mark():
    torch.ops.aten.relu(numbers)  # nothing else here calls it

sys.path.append(sys.argv[1])
import vllmperf_device_pass
numbers = torch.ones(4)
vllmperf_device_pass.MARKER = "aten::relu"
recorder = vllmperf_device_pass.Recorder()
recorder._torch = Instead
told = []
for trace in ("", sys.argv[2]):
    recorder.start(trace)
    for number in range(40):
        recorder.step("decode" if number else "prefill")
        torch.ops.aten.sin(numbers)
        with torch.profiler.record_function("a range"):
            pass
    told.append(recorder.stop())
print(json.dumps(told))
"""


def test_torchs_profiler_answers_what_the_recorder_asks(tmp_path: Path) -> None:
    trace = tmp_path / "trace.json.gz"
    command = [sys.executable, "-W", "error::UserWarning", "-c", RECORD, str(CHILD), str(trace)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for one in json.loads(done.stdout.splitlines()[-1]):
        kernels = {name: (times, ns) for name, times, ns in one["kernels"]}
        assert kernels["aten::sin"][0] == 40
        assert kernels["aten::sin"][1] > 0
        assert "a range" not in kernels
        assert "aten::relu" not in kernels
        assert (one["steps"]["decode"][0], one["steps"]["prefill"][0]) == (39, 1)
        assert 0 < one["busy_ns"] <= one["span_ns"]
    with gzip.open(trace, "rt") as file:
        names = [event.get("name") for event in json.load(file)["traceEvents"]]
    assert names.count("aten::sin") > 0
