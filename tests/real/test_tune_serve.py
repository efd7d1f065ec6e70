"""A search among served engines on the CPU build: eight sequences at once have more goodput than one.

Which load is the best is not asserted: on a busy machine four and eight are alike.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_vllmperf import cli

from .conftest import MODEL, TINY

SEARCH = (
    *("--slo", "ttft=5,tpot=1", "--goodput", "0.95"),
    *("--set", "max_num_batched_tokens=512", "--axis", "max_num_seqs=1,8", "--axis", "concurrency=4,8"),
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
    assert found["found"]["point"]["settings"]["max_num_seqs"] != 1
    assert found["found"]["point"]["engines"] == 2
    assert found["failed"] == []
    assert (found["points"], found["starts"]) == (6, 3 + 2 * 3)
    rates: dict[object, float] = {}
    for one in found["contenders"]:
        name = one["settings"]["max_num_seqs"]
        rates[name] = max(rates.get(name, 0.0), one["rate"])
    assert rates[1] < 0.8 * rates[8]
    assert any(line.startswith("again, 2 of up to 2: ") for line in err.splitlines())
    assert cli.main(search) == 0
    assert json.loads(capsys.readouterr().out)["found"] == found["found"]
