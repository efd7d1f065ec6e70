"""`Judge`: whether structured answers and tool calls keep to what was asked, and schemas that cannot be asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_vllmperf.errors import WorkloadError
from pytest_vllmperf.loadgen.validity import Judge, Share, check_asked
from pytest_vllmperf.records.answers import Answer
from pytest_vllmperf.workload import Asked, Request

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "friend": {"$ref": "#"}},
    "required": ["name"],
    "additionalProperties": False,
}


def tool(name: str, parameters: Any = None) -> dict[str, Any]:
    function = {"name": name} if parameters is None else {"name": name, "parameters": parameters}
    return {"type": "function", "function": function}


def asking(count: int, **asked: Any) -> list[Request]:
    written = Asked(**{name: json.dumps(value) for name, value in asked.items()})
    return [Request(index, 5, prompt="p", asked=written) for index in range(count)]


def test_texts_are_judged_by_the_schema() -> None:
    texts = ['{"name": "A"}', '{"name": 1}', '{"name": "A"', "", '{"name": "A", "friend": {"name": "B"}}', "[]"]
    judge = Judge(asking(len(texts), json_schema=PERSON))
    seen = judge.judge([Answer(index, 0, text=text) for index, text in enumerate(texts)])
    assert (seen.structured.valid, seen.structured.total) == (2, 6)
    assert seen.structured.share == pytest.approx(1 / 3)
    assert seen.structured.example == "not by its schema at $.name: 1 is not of type 'string'"
    assert seen.tools == Share(0, 0)
    assert seen.tools.share is None


def test_failed_answers_and_requests_without_a_schema_are_not_judged() -> None:
    requests = [*asking(2, json_schema=PERSON), Request(2, 5, prompt="p")]
    answers = [
        Answer(0, 0, failure="cut", detail="x", text="{"),
        Answer(1, 0, text='{"name": ""}'),
        Answer(2, 0, text="x"),
    ]
    assert Judge(requests).judge(answers).structured == Share(1, 1)


def test_arguments_of_tool_calls_are_judged_by_any_tool() -> None:
    judge = Judge(asking(6, tools=[tool("find", PERSON), tool("stop", {"type": "integer"}), tool("any")]))
    calls = [('{"name": "A"}',), ("5",), ('{"other": 1}', "{"), ("[]",), (), ('{"x": 1}',)]
    seen = judge.judge([Answer(index, 0, tool_calls=each) for index, each in enumerate(calls)])
    assert (seen.tools.valid, seen.tools.total, seen.without_call) == (3, 5, 1)
    assert seen.tools.example.startswith("not JSON")


def test_each_schema_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_vllmperf.loadgen import validity

    built: list[Any] = []
    original = validity.validator_for
    monkeypatch.setattr(
        validity, "validator_for", lambda schema, **more: built.append(schema) or original(schema, **more)
    )
    Judge([*asking(50, json_schema=PERSON), *asking(50, json_schema={"type": "string"})])
    assert built == [PERSON, {"type": "string"}]


def test_a_text_nested_deeper_than_the_schema_can_follow_is_invalid() -> None:
    deep = '{"name": "A", "friend": ' * 400 + '{"name": "A"}' + "}" * 400
    seen = Judge(asking(1, json_schema=PERSON)).judge([Answer(0, 0, text=deep)])
    assert seen.structured == Share(0, 1, "JSON that is nested too deeply")


BAD = {
    "not JSON": (Asked(json_schema="{"), "json_schema is not JSON"),
    "a number": (Asked(json_schema="5"), "json_schema is no JSON schema"),
    "an unknown type": (Asked(json_schema='{"type": "text"}'), "json_schema is no valid JSON schema: 'text'"),
    "a reference to nothing": (Asked(json_schema='{"$ref": "#/$defs/a"}'), "refers to #/\\$defs/a, which it does not"),
    "a reference to elsewhere": (Asked(json_schema='{"$ref": "http://127.0.0.1:9/a"}'), "nothing is fetched"),
    "no list of tools": (Asked(tools="{}"), "tools must be a list"),
    "no tool": (Asked(tools="[]"), "tools must be a list of one tool"),
    "no function": (Asked(tools='[{"type": "function"}]'), "tool 0 must be"),
    "bad parameters": (Asked(tools=json.dumps([tool("f", {"type": 7})])), "parameters of tool f is no valid"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_judged_is_known_when_a_workload_is_built(name: str) -> None:
    asked, words = BAD[name]
    with pytest.raises(WorkloadError, match=words):
        check_asked(asked)
    with pytest.raises(WorkloadError, match=words):
        Judge([Request(0, 5, prompt="p", asked=asked)])


def test_what_can_be_judged_is_no_error() -> None:
    check_asked(Asked())
    check_asked(Asked(json_schema=json.dumps(PERSON), tools=json.dumps([tool("f", PERSON)])))
    check_asked(Asked(json_schema='{"$defs": {"a": {"type": "null"}}, "$ref": "#/$defs/a"}'))


def test_a_reference_that_leads_away_in_a_schema_with_a_name_is_an_error_of_the_workload(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fetched: list[Any] = []
    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **more: fetched.append(args))
    schema = {"$id": "http://127.0.0.1:9/x", "properties": {"a": {"$ref": "y"}}}
    judge = Judge(asking(1, json_schema=schema))
    with pytest.raises(WorkloadError, match="json_schema"):
        judge.judge([Answer(0, 0, text='{"a": 1}')])
    assert fetched == []
