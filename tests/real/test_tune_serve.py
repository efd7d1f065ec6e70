"""A search among served engines on the CPU build: eight sequences at once have more goodput than one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_vllmperf import cli

from .conftest import MODEL, TINY

SEARCH = (
    *("--slo", "ttft=5,tpot=1", "--goodput", "0.95"),
    *("--axis", "max_num_seqs=1,8", "--axis", "concurrency=4,8"),
    *("--requests", "24", "--input-tokens", "16", "--output-tokens", "8"),
    *("--iterations", "2", "--warmup", "1", "--replicates", "2", "--allow", "client"),
)


@pytest.mark.long
def test_the_better_argument_is_found_on_real_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [f"{name}={json.dumps(value)}" for name, value in TINY.items() if name != "max_num_seqs"]
    search = ["tune", "serve", MODEL, *SEARCH, *(part for one in given for part in ("--set", one)), "--json"]
    assert cli.main(search) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["found"]["point"]["settings"]["concurrency"] == 8
    assert found["found"]["point"]["settings"]["max_num_seqs"] != 1
    assert found["found"]["point"]["engines"] == 2
    assert found["failed"] == []
    assert found["starts"] == 3 + 2 * 3
    rates = {(one["settings"]["max_num_seqs"], one["settings"]["concurrency"]): one for one in found["contenders"]}
    assert rates[1, 8]["rate"] < 0.7 * rates[8, 8]["rate"]
    assert len(err.splitlines()) == 6 + 2 * 6
    assert cli.main(search) == 0
    assert json.loads(capsys.readouterr().out)["found"] == found["found"]
