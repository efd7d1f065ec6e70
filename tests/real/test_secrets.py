"""A real engine whose log prints its environment and arguments as it fails: none of the planted secrets is shown."""

from __future__ import annotations

import json

import pytest

from pytest_vllmperf import models

# A model's own code, which runs while the model is loaded, in the engine's process.
CODE = """
import os, sys
print("environment:", dict(os.environ), file=sys.stderr)
for name in ("DATABASE_URL", "COOKIE", "HF_TOKEN", "MY_SETTING"):
    print(f"{name}={os.environ[name]}", file=sys.stderr)
print(f"failed with {os.environ['COOKIE']} and {os.environ['HF_TOKEN']}", file=sys.stderr, flush=True)
os._exit(3)
"""

MODULE = """
import json, os, pathlib
import pytest
from pytest_vllmperf import Workload

PLANTED = json.loads(pathlib.Path(os.environ["PLANTED"]).read_text())

@pytest.mark.vllm(pathlib.Path("model"), backend="transformers", trust_remote_code=True, token=PLANTED["HF_TOKEN"],
                  env=PLANTED)
def test_fails(vllmperf):
    vllmperf.measure(Workload.synthetic(requests=1, input_tokens=4, output_tokens=2))
"""

PLANTED = (
    '{"DATABASE_URL": "postgres://app:pw-quartz@db/prod", "COOKIE": "session=cookie-amber", '
    '"HF_TOKEN": "hf_AbCdEfGhIjKlMnOpjade", "MY_SETTING": "setting onyx and more"}'
)
LEAKS = ("quartz", "amber", "jade", "onyx")


def test_a_failing_engine_shows_no_secret(
    pytester: pytest.Pytester, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = tmp_path_factory.mktemp("outside") / "planted.json"
    planted.write_text(PLANTED)
    monkeypatch.setenv("PLANTED", str(planted))
    folder = models.make_model(pytester.path / "model", models.SHAPES["tiny"], "none")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own_type", "auto_map": {"AutoConfig": "own.OwnConfig"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(CODE)
    pytester.makeini("[pytest]")
    pytester.makepyfile(test_real=MODULE)
    result = pytester.runpytest_subprocess("--vllmperf", "-rA", "-l", "--full-trace", "--junitxml=report.xml")
    result.assert_outcomes(failed=1)
    shown = str(result.stdout) + str(result.stderr) + (pytester.path / "report.xml").read_text()
    assert "failed with ***" in shown
    assert "COOKIE=***" in shown
    assert not [word for word in LEAKS if word in shown]
