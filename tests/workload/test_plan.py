"""`Plan`: one load or another, what a server is asked for, and keys that stay what they are."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pytest_vllmperf.workload import Arrivals, Workload
from pytest_vllmperf.workload.request import Asked

Refused = Callable[..., str]

CHAT = [{"role": "user", "content": "hello"}]
TALK = [*CHAT, {"role": "assistant", "content": "yes?"}, {"role": "user", "content": "bye"}]
SCHEMA = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "integer"}}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}


def plain(**changed: Any) -> Workload:
    return Workload.synthetic(**{"requests": 4, "input_tokens": 8, "output_tokens": 4, **changed})


def trace(**changed: Any) -> Workload:
    return Workload(kind="trace", count=2, output_tokens=1, arrivals=Arrivals("trace", due=(0.0, 4.0)), **changed)


@pytest.mark.parametrize(
    ("workload", "key"),
    [
        (
            plain(
                requests=64, input_tokens=(16, 128), output_tokens=32, concurrency=16, seed=3, shared_prefix_tokens=8
            ),
            "bfcd62b2e005",
        ),
        (
            Workload.prompts(["hello", "größe"], output_tokens=7, concurrency=2, ignore_eos=False, temperature=0.5),
            "e6f3b68c3343",
        ),
        (
            Workload.chat(
                [CHAT, [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]], output_tokens=3
            ),
            "19efb718f983",
        ),
    ],
)
def test_keys_of_stored_baselines_stay(workload: Workload, key: str) -> None:
    # As they were before workloads knew of servers: baselines in users' repositories hold them.
    assert workload.key == key
    assert workload.describe()["key"] == key


CHANGES: dict[str, Callable[[Workload], Workload]] = {
    "concurrency": lambda one: one.at(concurrency=3),
    "poisson": lambda one: one.at(rate=8),
    "other rate": lambda one: one.at(rate=9),
    "constant": lambda one: one.at(rate=8, arrivals="constant"),
    "gamma": lambda one: one.at(rate=8, arrivals="gamma", burstiness=0.5),
    "ramp": lambda one: one.at(rate=8, arrivals="ramp", ramp_to=9),
    "seconds": lambda one: one.at(seconds=3),
    "whole": lambda one: one.streamed(False),
    "new": lambda one: one.over(connections="new"),
    "schema": lambda one: one.asking(json_schema=SCHEMA),
    "tools": lambda one: one.asking(tools=[TOOL]),
    "logprobs": lambda one: one.asking(logprobs=0),
    "model": lambda one: one.asking(model="lora"),
}


def test_whatever_changes_the_load_changes_the_key_and_the_description() -> None:
    made = [plain(), *(change(plain()) for change in CHANGES.values())]
    assert len({one.key for one in made}) == len(made)
    shown = [{key: value for key, value in one.describe().items() if key != "key"} for one in made]
    assert len({json.dumps(one, sort_keys=True) for one in shown}) == len(made)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_is_set_is_hashable_and_leaves_the_prompts_alone(change: Callable[[Workload], Workload]) -> None:
    made = change(plain())
    assert hash(made) == hash(change(plain()))
    sent = [{key: value for key, value in one.to_wire().items() if key != "adapter"} for one in made.requests(100)]
    assert sent == [one.to_wire() for one in plain().requests(100)]


def test_a_rate_as_a_whole_number_is_the_same_load() -> None:
    assert plain().at(rate=8).key == plain().at(rate=8.0).key
    ramps = (plain().at(rate=8, arrivals="ramp", ramp_to=to) for to in (9, 9.0))
    assert len({one.key for one in ramps}) == 1
    assert plain().at(seconds=3).key == plain().at(seconds=3.0).key


def test_a_load_replaces_the_one_before() -> None:
    assert plain(concurrency=4).at(rate=8).concurrency is None
    assert plain().at(rate=8).at(concurrency=4) == plain(concurrency=4)
    assert trace().at(rate=2, arrivals="constant").arrivals.schedule(2, 0) == (0, 500_000_000)
    assert not trace().at(concurrency=1).arrivals.open_loop


def test_a_budget_by_time_keeps_the_load() -> None:
    closed = plain(concurrency=4).at(seconds=30)
    assert (closed.concurrency, closed.send_for, closed.arrivals.open_loop) == (4, 30.0, False)
    assert plain().at(rate=8, seconds=30).at(rate=9).send_for == 30.0
    assert trace().at(seconds=3).arrivals == trace().arrivals


def test_speed_scales_the_clock_of_a_trace() -> None:
    assert trace().at(speed=2).arrivals.due == (0.0, 2.0)
    assert trace().at(speed=0.5, seconds=3).arrivals.due == (0.0, 8.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "needs at least one of concurrency="),
        ({"concurrency": 1, "rate": 2}, "concurrency= or rate=, not both: concurrency=1, rate=2"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"concurrency": 1.5}, "concurrency=1.5"),
        ({"rate": -1}, "rate=-1"),
        ({"rate": math.inf}, "rate=inf"),
        ({"rate": "8"}, "rate='8'"),
        ({"rate": 8, "arrivals": "poison"}, "did you mean 'poisson'?"),
        ({"rate": 8, "arrivals": "closed"}, "arrivals='closed' must be one of"),
        ({"rate": 8, "arrivals": "trace"}, "arrivals='trace' must be one of"),
        ({"rate": 8, "arrivals": ["poisson"]}, "arrivals=['poisson']"),
        ({"rate": 8, "burstiness": 0.5}, "burstiness=0.5 is valid only for gamma"),
        ({"rate": 8, "arrivals": "gamma", "burstiness": -1}, "burstiness=-1"),
        ({"rate": 8, "arrivals": "ramp"}, "go together"),
        ({"rate": 8, "ramp_to": 9}, "go together"),
        ({"rate": 8, "arrivals": "ramp", "ramp_to": 0}, "ramp_to=0"),
        ({"arrivals": "gamma"}, "arrivals='gamma' needs a rate="),
        ({"burstiness": 2.0}, "burstiness=2.0 needs a rate="),
        ({"concurrency": 1, "arrivals": "constant"}, "arrivals='constant' needs a rate="),
        ({"concurrency": 1, "burstiness": 2}, "burstiness=2 needs a rate="),
        ({"ramp_to": 2}, "ramp_to=2 needs a rate="),
        ({"rate": 8, "seconds": 0}, "seconds=0"),
        ({"rate": 8, "seconds": math.nan}, "seconds=nan"),
        ({"seconds": "60"}, "seconds='60'"),
        ({"speed": 2}, "speed=2 scales the times of a trace"),
    ],
)
def test_loads_that_make_no_sense_are_refused(arguments: dict[str, Any], said: str, refused: Refused) -> None:
    assert said in refused(plain().at, **arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"speed": 0}, "speed=0"),
        ({"speed": True}, "speed=True"),
        ({"speed": 2, "rate": 1}, "speed=2"),
        ({"speed": 2, "concurrency": 1}, "speed=2"),
        ({"speed": 2, "arrivals": "gamma"}, "arrivals='gamma' needs a rate="),
    ],
)
def test_speeds_that_make_no_sense_are_refused(arguments: dict[str, Any], said: str, refused: Refused) -> None:
    assert said in refused(trace().at, **arguments)


def test_other_words_are_refused(refused: Refused) -> None:
    assert "did you mean 'keep-alive'?" in refused(plain().over, "keepalive")
    assert "connections=None" in refused(plain().over, connections=None)
    assert "streamed() takes True or False, not 1" in refused(plain().streamed, 1)


def test_what_is_asked_reaches_every_request_as_canonical_json() -> None:
    made = plain().asking(json_schema=SCHEMA, logprobs=5).asking(tools=(TOOL,), model="lora").requests(100)
    assert len(made) == 4
    for request in made:
        assert (request.asked.logprobs, request.asked.model) == (5, "lora")
        assert json.loads(request.asked.json_schema) == SCHEMA
        assert json.loads(request.asked.tools) == [TOOL]
    turned = {key: SCHEMA[key] for key in reversed(SCHEMA)}
    assert plain().asking(json_schema=turned).key == plain().asking(json_schema=SCHEMA).key


@pytest.mark.parametrize("make", [lambda: Workload.chat([CHAT], output_tokens=1), trace], ids=["chat", "trace"])
def test_any_kind_can_ask(make: Callable[[], Workload]) -> None:
    workload = make() if make().kind == "chat" else trace(inputs=("[3]", "[4]"))
    assert {request.asked.model for request in workload.asking(model="lora").requests(50)} == {"lora"}


def test_a_description_has_no_schema_but_tells_two_apart() -> None:
    shown = plain().asking(json_schema=SCHEMA).describe()["asked"]["json_schema"]
    assert "integer" not in shown
    assert shown != plain().asking(json_schema={}).describe()["asked"]["json_schema"]


LOOP: dict[str, Any] = {}
LOOP["self"] = LOOP


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "needs at least one of json_schema="),
        ({"json_schema": "{}"}, "json_schema='{}' must be"),
        ({"json_schema": [SCHEMA]}, "json_schema="),
        ({"json_schema": {"a": {1: 2}}}, "json_schema['a'] is not JSON: the key 1 is not a string"),
        ({"json_schema": {"enum": [1, math.nan]}}, "json_schema['enum'][1] is not JSON: nan"),
        ({"json_schema": {"enum": {1, 2}}}, "json_schema['enum'] is not JSON: {1, 2}"),
        ({"json_schema": LOOP}, "contains itself"),
        ({"tools": TOOL}, "tools must be a list"),
        ({"tools": []}, "tools must be a list"),
        ({"tools": ["look"]}, "tools must be a list"),
        ({"tools": [{"x": object}]}, "tools[0]['x'] is not JSON"),
        ({"logprobs": -1}, "logprobs=-1"),
        ({"logprobs": True}, "logprobs=True"),
        ({"logprobs": 0.0}, "logprobs=0.0"),
        ({"model": ""}, "model=''"),
        ({"model": 3}, "model=3"),
    ],
)
def test_what_cannot_be_asked_is_refused(arguments: dict[str, Any], said: str, refused: Refused) -> None:
    assert said in refused(plain().asking, **arguments)


@pytest.mark.parametrize(
    ("workload", "said"),
    [
        (plain().at(rate=8), "poisson arrivals"),
        (trace(), "trace arrivals"),
        (plain().at(seconds=5), "time limit (seconds=5.0)"),
        (plain().streamed(False), "not streamed"),
        (plain().over("new"), "opens its own connection"),
        (plain().asking(model="lora", logprobs=1), "asks for logprobs"),
        (Workload.conversations([TALK], output_tokens=1), "turns of conversations"),
    ],
)
def test_what_only_a_server_can_be_sent_says_why(workload: Workload, said: str) -> None:
    assert workload.needs_server
    assert said in workload.why_server


@pytest.mark.parametrize(
    "workload",
    [
        plain(),
        plain(concurrency=2),
        plain().asking(model="lora"),
        Workload.chat([CHAT], output_tokens=1),
        trace().at(concurrency=1),
    ],
)
def test_an_engine_in_process_can_be_sent_the_rest(workload: Workload) -> None:
    assert not workload.needs_server
    assert workload.why_server == ""


def test_the_first_reason_is_named() -> None:
    assert "poisson" in plain().over("new").streamed(False).at(rate=8).why_server


def test_requests_go_to_several_models_in_turn() -> None:
    workload = plain(requests=5).asking(model=["sql", None, "chat"])
    sent = workload.requests(100)
    assert [one.asked.model for one in sent] == ["sql", "", "chat", "sql", ""]
    assert [one.to_wire().get("adapter") for one in sent] == ["sql", None, "chat", "sql", None]
    assert workload.named_models == ("sql", "chat")
    assert workload.describe()["models"] == ("sql", "", "chat")
    assert len({workload.key, plain(requests=5).key, plain(requests=5).asking(model=["sql"]).key}) == 3
    assert [one.prompt_token_ids for one in sent] == [one.prompt_token_ids for one in plain(requests=5).requests(100)]


def test_what_is_asked_last_counts() -> None:
    several, one = plain().asking(model=["a", "b"]), plain().asking(model="c")
    assert several.asking(model="c") == one
    assert one.asking(model=["a", "b"]) == several
    assert several.asking(logprobs=1).models == ("a", "b")
    assert one.asking(logprobs=1).named_models == ("c",)


def test_the_key_of_one_model_is_what_it_was() -> None:
    assert plain().asking(model="lora").key == replace(plain(), asked=Asked(model="lora")).key
    assert "models" not in plain().asking(model="lora").describe()


@pytest.mark.parametrize("model", [[], ["a", ""], ["a", 3], [None, "  "]])
def test_a_list_of_models_that_is_none_is_refused(model: list[Any], refused: Refused) -> None:
    assert refused(plain().asking, model=model).startswith("model=[")
