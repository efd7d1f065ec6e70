"""What is read of the installed vLLM's source is what that vLLM accepts: nothing that it takes is ever refused."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

from pytest_vllmperf.engines import forkserver
from pytest_vllmperf.engines.arguments import CHAT_ARGUMENTS, accepted

# Imports vLLM as the server process does, and asks it.
ASK = """
import dataclasses, inspect, json, sys

sys.path.append(sys.argv[1])
import vllmperf_forkserver

print(vllmperf_forkserver.import_library("vllm", sys.argv[2]), file=sys.stderr)
import vllm
from vllm.engine.arg_utils import EngineArgs

kinds = inspect.Parameter
llm = [one.name for one in inspect.signature(vllm.LLM).parameters.values() if one.kind is not kinds.VAR_KEYWORD]
chat = list(inspect.signature(vllm.LLM.chat).parameters)
print(json.dumps({"fields": [field.name for field in dataclasses.fields(EngineArgs)], "llm": llm, "chat": chat}))
"""


def test_the_source_names_every_argument_that_vllm_has(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    child = Path(forkserver.__file__).parent / "child"
    command = [sys.executable, "-c", ASK, str(child), str(tmp_path)]
    asked = subprocess.run(command, capture_output=True, text=True, check=True)
    has = json.loads(asked.stdout.splitlines()[-1])
    package = importlib.util.find_spec("vllm")
    assert package is not None
    assert package.origin is not None
    known = accepted(Path(package.origin).parent)
    assert known is not None, "vLLM's source is not as expected: typos are told by vLLM itself now"
    assert set(has["fields"]) <= known
    assert set(has["llm"]) <= known
    assert set(CHAT_ARGUMENTS) <= set(has["chat"])
    assert not set(CHAT_ARGUMENTS) & {*has["fields"], *has["llm"]}, "vLLM takes them itself now: hand them on"
    assert "max_modl_len" not in known
