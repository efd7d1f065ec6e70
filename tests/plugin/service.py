"""A project whose tests measure a server that runs already: the scripted one, in a process of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.loadgen.scripted import Scripted

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

# A busy machine makes the client late, which is not what these tests are about.
HEADER = """\
URL = {url!r}
GIVEN = {{"model": "scripted", "name": "gateway", **{given!r}}}
WORK = Workload.synthetic(requests=6, input_tokens=8, output_tokens=5)

def endpoint(vllmperf, **more):
    return vllmperf.endpoint(**{{"url": URL, **GIVEN, **more}})
"""
TEST = """
@pytest.mark.vllmperf(iterations=1, warmup=0, allow={allow!r})
def test_chat(vllmperf):
    run = vllmperf.measure({work}, endpoint=endpoint(vllmperf))
    {then}
"""
SCRIPT = {"ttft": 0.03, "gap": 0.008}
"""Long enough that a busy machine adds little; an iteration of `WORK` takes 60 ms."""


class Service:
    """A project, and the server that its tests measure."""

    def __init__(self, project: Project, server: Scripted) -> None:
        self.project = project
        self.server = server
        self.conduct({})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/v1"

    def conduct(self, *scripts: dict[str, Any], **given: object) -> None:
        """Say how the server answers from now on: by these scripts in turns, each over `SCRIPT`."""
        self.server.conduct(*({**SCRIPT, **script} for script in scripts), **given)

    def module(self, body: str, **given: object) -> None:
        """Write a test module that knows `WORK` and `endpoint(vllmperf)`, which `given` names further."""
        url = given.pop("url", self.url)
        self.project.module(HEADER.format(url=url, given=given) + body)

    def chat(
        self, work: str = "WORK", then: str = "vllmperf.check(run)", allow: str = "client", **given: object
    ) -> None:
        """Write a module with one test, which measures the server, and checks it unless told."""
        self.module(TEST.format(work=work, then=then, allow=allow), **given)

    def record(self, *args: str) -> pytest.RunResult:
        """Record a baseline, which has to work."""
        result = self.project.run("--vllmperf-update", *args)
        assert result.ret == pytest.ExitCode.OK, result.stdout.str()
        return result

    def stored(self, folder: str = "endpoint-gateway", test: str = "test_chat") -> dict[str, Any]:
        """What a test's baseline holds."""
        path = self.project.root / "baselines" / folder / "test_chat.json"
        entry: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["tests"][test]
        return entry
