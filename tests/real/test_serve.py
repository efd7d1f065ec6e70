"""`backend="serve"` on real vLLM: its figures, its facts, and what can be asked of it. One server for most tests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.engines.serve import ServedEngine
from pytest_vllmperf.errors import EngineError, ProfileError, WorkloadError
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.models import SHAPES
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.settings import DEFAULTS, Settings, Update
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Workload
from tests.measuring import SERVER_PROCESS, ColdCache

from .conftest import MODEL, TINY
from .serving import ONCE, engine_of, group, measured, served

LISTEN = "0A"
LOOPBACK = "0100007F"
KEY = "VLLMPERF_TEST_KEY"
WORK = Workload.synthetic(requests=12, input_tokens=32, output_tokens=12, concurrency=4)
YES_OR_NO = {
    "type": "object",
    "properties": {"yes": {"type": "boolean"}},
    "required": ["yes"],
    "additionalProperties": False,
}
# Random weights would else fill an answer with blanks, which JSON allows.
COMPACT = {"structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True}}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> ColdCache:
    return ColdCache(tmp_path_factory.mktemp("cold") / "vllm")


@pytest.fixture(scope="module")
def server(perf: Lab, cache: ColdCache) -> Target:
    return served(perf, env=cache.env, **COMPACT)


@pytest.fixture(scope="module")
def plain(perf: Lab, server: Target) -> Measurement:
    """The usual work, streamed."""
    return measured(perf, server, WORK)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Lab]:
    """Another session beside the server's own, for endpoints."""
    opened = Lab(Settings(Update.NONE, tmp_path, DEFAULTS, 60.0, 60.0), lambda doing, waited: None)
    yield opened
    opened.close()


def values(run: Measurement, metric: str) -> Sequence[float]:
    (engine,) = run.samples(metric)
    return engine


def endpoint(lab: Lab, engine: ServedEngine, **arguments: Any) -> Target:
    """The server, as one that somebody else has started."""
    address = engine.address
    url = f"http://{address.server.host}:{address.server.port}/v1"
    spec = EngineSpec.create(address.model, backend="endpoint", url=url, **{"vocab_size": 2048, **arguments})
    return lab.target(spec, None)


def test_vllm_starts_no_interpreter_to_look_at_the_model(plain: Measurement, cache: ColdCache) -> None:
    assert len(cache.classes()) == 1, "vLLM has looked, and keeps what it found where this test knows of it"
    assert cache.importers() == [SERVER_PROCESS]


def test_work_is_counted_exactly_and_figures_fit_together(plain: Measurement) -> None:
    assert plain.problems == ()
    assert plain.device == "cpu, served"
    assert values(plain, "output_tokens") == [12 * 12] * 2
    assert values(plain, "prompt_tokens") == [12 * 32] * 2
    assert values(plain, "failed_requests") == [0, 0]
    for results in plain.iterations:
        for result in results:
            for request in result.requests:
                assert request.answer is not None
                # a server that is held up sends several tokens in a piece; their ids tell how many
                assert sum(request.answer.piece_tokens) == request.output_tokens == 12
                assert request.queued_ts < request.first_token_ts <= request.last_token_ts
                assert request.finish_reason == "length"
    assert 0 < plain.ttft.p50 < plain.e2e.p50
    assert plain.e2e.mean == pytest.approx(plain.ttft.mean + plain.decode.mean, rel=0.05)
    assert 0 < plain.tpot.mean < plain.decode.mean
    assert 0 < plain.itl.p50 < plain.decode.p99
    assert plain.output_throughput == pytest.approx(12 * plain.request_throughput, rel=1e-6)
    assert plain.service.mean < plain.e2e.mean


def test_a_server_on_a_cpu_cannot_be_profiled(perf: Lab, server: Target, plain: Measurement) -> None:
    engine = engine_of(perf, server)
    with pytest.raises(ProfileError, match=r"^the engine runs on a CPU$"):
        engine.profile_start()
    found = perf.profile(server, WORK, ONCE, plain)
    assert found.engines[-1].no_device_pass == "the engine runs on a CPU"
    (results,) = plain.iterations
    told = {result.instructions is None for result in results}
    assert told == {"cpu_instructions" in engine.facts.unmeasured}


def test_the_servers_own_figures_are_there(plain: Measurement) -> None:
    (results,) = plain.iterations
    for result in results:
        assert result.served is not None
        own = result.served.server
        assert own is not None
        assert (own.finished, own.generation_tokens, own.prompt_tokens) == (12, 12 * 12, 12 * 32)
        assert (own.prefix_queries, own.prefix_hits, own.preemptions) == (12 * 32, 0, 0)
        assert (own.running_after, own.waiting_after) == (0, 0)
        assert result.cpu_seconds is not None
        assert 0 < result.cpu_seconds < 60
        assert (result.resident_bytes or 0) > 100 * 2**20
    # both are means over the same requests, and the client's span holds the server's
    client, own_ttft = values(plain, "ttft.mean"), values(plain, "server_ttft")
    assert all(0 < inside < seen for inside, seen in zip(own_ttft, client, strict=True))


def test_a_shared_prefix_is_found_within_an_iteration_and_none_is_left_for_the_next(perf: Lab, server: Target) -> None:
    shared = Workload.synthetic(requests=4, input_tokens=300, output_tokens=2, shared_prefix_tokens=256, concurrency=1)
    run = measured(perf, server, shared)
    # blocks of 128 tokens: two of them are shared by the three requests after the first, which finds nothing
    assert values(run, "prefix_cache_hit_tokens") == [3 * 256] * 2
    assert values(run, "prefix_hit_share") == [pytest.approx(3 * 256 / (4 * 300))] * 2
    again = measured(perf, server, Workload.prompts(["The same text each time. " * 15], output_tokens=2))
    assert values(again, "prompt_tokens")[0] > 128
    assert values(again, "prefix_cache_hit_tokens") == [0, 0]


def test_chats_are_rendered_by_the_server(perf: Lab, server: Target) -> None:
    chats = [[{"role": "user", "content": "one"}]] * 4
    run = measured(perf, server, Workload.chat(chats, output_tokens=6), ONCE)
    assert run.problems == ()
    assert values(run, "output_tokens") == [4 * 6]
    prompts = measured(perf, server, Workload.prompts(["one"] * 4, output_tokens=6), ONCE)
    # the template puts tokens for roles and turns around the same text
    assert values(run, "prompt_tokens")[0] > values(prompts, "prompt_tokens")[0] > 0


def test_answers_that_come_whole_have_no_gaps(perf: Lab, server: Target, plain: Measurement) -> None:
    run = measured(perf, server, WORK.streamed(False), ONCE)
    assert run.problems == ()
    assert values(run, "output_tokens") == [12 * 12]
    assert values(run, "ttft.mean") == values(run, "e2e.mean")
    assert run.samples("itl.mean") == run.samples("tpot.mean") == []
    assert run.environment.hard["workload"] != plain.environment.hard["workload"]


def test_answers_keep_to_a_schema_unless_they_are_cut(perf: Lab, server: Target) -> None:
    for tokens, share in ((40, 1.0), (2, 0.0)):
        work = Workload.prompts(["Yes or no?"] * 4, output_tokens=tokens, ignore_eos=False)
        run = measured(perf, server, work.asking(json_schema=YES_OR_NO), ONCE)
        assert values(run, "valid_share") == [share]


def test_log_probabilities_change_no_count(perf: Lab, server: Target) -> None:
    # the first such request has vLLM compile a kernel
    run = measured(perf, server, WORK.asking(logprobs=3), MeasureSettings(warmup=1, iterations=1))
    assert run.problems == ()
    assert values(run, "output_tokens") == [12 * 12]


def test_an_endpoint_on_the_same_server_gives_the_same_kind_of_figures(
    perf: Lab, outside: Lab, server: Target, plain: Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(perf, server)
    monkeypatch.setenv(KEY, engine.address.api_key or "")
    run = measured(outside, endpoint(outside, engine, api_key_env=KEY), WORK)
    assert run.problems == ()
    assert values(run, "output_tokens") == values(plain, "output_tokens")
    ours, other = (set(one.engines[0].samples) for one in (plain, run))
    assert other >= {"ttft.p50", "e2e.p99", "output_throughput", "server_ttft", "prefix_hit_share", "client_lag"}
    # what belongs to processes that somebody else has started is not known
    assert ours >= {"cpu_seconds", "resident_bytes", "kernels_compiled"}
    assert not other & {"cpu_seconds", "resident_bytes", "kernels_compiled"}
    assert 0 < run.server_ttft < run.ttft.mean
    assert run.device == "endpoint"


def test_a_wrong_key_is_refused_and_not_shown(
    perf: Lab, outside: Lab, server: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "not-the-right-key")
    with pytest.raises(EngineError, match="401") as told:
        measured(outside, endpoint(outside, engine_of(perf, server), api_key_env=KEY), WORK, ONCE)
    assert "\n" not in str(told.value)
    assert "not-the-right-key" not in str(told.value)
    without = endpoint(outside, engine_of(perf, server))
    with pytest.raises(EngineError, match="401"):
        measured(outside, without, WORK, ONCE)


def test_it_listens_on_the_loopback_alone(perf: Lab, server: Target) -> None:
    port = f"{engine_of(perf, server).address.server.port:04X}"
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not Path(table).exists():
            continue
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, state = line.split()[:4]
            if state == LISTEN and local.endswith(f":{port}"):
                found.append(local)
    assert found == [f"{LOOPBACK}:{port}"]


def test_the_key_is_in_no_log_and_seen_by_no_other_process(perf: Lab, server: Target) -> None:
    engine = engine_of(perf, server)
    key = (engine.address.api_key or "").encode()
    assert len(key) > 40
    assert key not in engine._child.log.read_bytes()
    own = {one.pid for one in group(engine.pid)}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            assert key not in (folder / "cmdline").read_bytes(), folder
            if int(folder.name) not in own:
                assert key not in (folder / "environ").read_bytes(), folder
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue


def test_facts_are_those_of_the_engine_in_process(perf: Lab) -> None:
    # by default a server takes another number of tokens a step than `vllm.LLM`
    same = {**COMPACT, "max_num_batched_tokens": 1024}
    targets = served(perf, **same), perf.target(EngineSpec.create(MODEL, **TINY, **same), None)
    with perf.engines(targets) as engines:
        ours, other = (facts_of(engine) for engine in engines)
    assert ours == other
    assert ours["kv_cache_bytes"] == TINY["kv_cache_memory_bytes"]
    assert ours["max_model_len"] == TINY["max_model_len"]
    assert ours["resolved"]["max_num_batched_tokens"] == 1024
    assert ours["weights"].layers


def facts_of(engine: Engine) -> dict[str, Any]:
    """All but times."""
    return {name: value for name, value in vars(engine.facts).items() if name not in ("load_time", "memory")}


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter for the first layer's queries, in the layout of PEFT."""
    folder, shape, rank = tmp_path_factory.mktemp("adapter"), SHAPES["tiny"], 4
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": ["q_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    weights = {
        name.format("A"): np.ones((rank, shape.hidden_size), dtype=np.float32),
        name.format("B"): np.ones((shape.hidden_size, rank), dtype=np.float32),
    }
    save_file(weights, folder / "adapter_model.safetensors")
    return folder


def test_requests_to_an_adapter(perf: Lab, adapter: Path) -> None:
    modules = [{"name": "mine", "path": str(adapter)}]
    target = served(perf, enable_lora=True, max_lora_rank=8, lora_modules=modules)
    run = measured(perf, target, WORK.asking(model="mine"), ONCE)
    assert run.problems == ()
    assert values(run, "output_tokens") == [12 * 12]
    with pytest.raises(WorkloadError, match=r"asks for the model 'yours', but the engine has no adapter"):
        measured(perf, target, WORK.asking(model="yours"), ONCE)
