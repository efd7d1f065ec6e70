"""What the summary calls a test or check: never two of them alike."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.records.ids import CheckId
from pytest_vllmperf.report.names import Names, distinct, shorten

LONG = "test_all_that_there_is_to_say_about_one_model"


def check(nodeid: str) -> CheckId:
    return CheckId.parse(*nodeid.split("::", 1))


def called(*nodeids: str, width: int = 80) -> list[str]:
    names = Names(map(check, nodeids), width)
    return [names[check(nodeid)] for nodeid in nodeids]


@pytest.mark.parametrize(
    ("nodeids", "expected"),
    [
        (["a/test_x.py::test_one", "b/test_x.py::test_two"], ["test_one", "test_two"]),
        (["test_x.py::test_a", "test_y.py::test_a"], ["test_x::test_a", "test_y::test_a"]),
        (["a/test_x.py::test_a", "b/test_x.py::test_a"], ["a/test_x::test_a", "b/test_x::test_a"]),
        (["p/a/x.py::t", "q/a/x.py::t", "q/b/y.py::t"], ["p/a/x::t", "q/a/x::t", "y::t"]),
        (["x.py::t", "a/x.py::t", "b/a/x.py::t"], ["x::t", "a/x::t", "b/a/x::t"]),
        (["x.py::t # long", "y.py::t # long", "x.py::t"], ["x::t # long", "y::t # long", "t"]),
        (["x.py::t[a/b::c]", "x.py::t[a/b::d]"], ["t[a/b::c]", "t[a/b::d]"]),
        (["Größe.py::t", "größe.py::t"], ["Größe::t", "größe::t"]),
        (["x.py::t", "x.txt::t"], ["x.py::t", "x.txt::t"]),
        (["a.py::B::t", "B.py::t", "c.py::t"], ["a.py::B::t", "B.py::t", "c.py::t"]),
    ],
)
def test_as_much_of_the_module_as_tells_them_apart(nodeids: list[str], expected: list[str]) -> None:
    assert called(*nodeids) == expected


def test_the_same_check_named_twice_is_one() -> None:
    assert called("x.py::t", "x.py::t") == ["t", "t"]


@pytest.mark.parametrize(("width", "shown"), [(40, 76), (80, 76), (120, 116), (200, 161)])
def test_a_name_is_as_wide_as_the_terminal_allows(width: int, shown: int) -> None:
    assert len(called("x.py::test_" + "y" * 156, width=width)[0]) == shown


def test_a_long_name_loses_its_middle() -> None:
    assert shorten("test_chat", 9) == "test_chat"
    assert shorten("test_a_long_name[awq]", 15) == "test_a...e[awq]"
    assert distinct(["test_a_long_name[awq]"], 15) == {"test_a_long_name[awq]": "test_a...e[awq]"}


def test_names_that_differ_in_the_middle_keep_where_they_differ() -> None:
    names = [f"{LONG}[{quantization}-and-a-long-description-of-it]" for quantization in ("awq", "gptq", "gguf")]
    assert list(distinct(names, 26).values()) == [
        "test_a...awq-and-...of-it]",
        "test_a...gptq-and...of-it]",
        "test_a...gguf-and...of-it]",
    ]


def test_what_no_cut_tells_apart_has_a_number() -> None:
    names = ["x" * number for number in (19, 30, 31, 32)]
    shown = list(distinct(names, 20).values())
    assert shown[0] == names[0]
    assert len(set(shown)) == 4
    assert [name[-2:] for name in shown[2:]] == ["~1", "~2"]


alike = st.lists(st.sampled_from(["x" * 9, "y" * 9, "a", "好", "...", "~1", "]"]), max_size=9).map("".join)


@given(st.lists(alike, unique=True, max_size=12), st.integers(12, 40))
def test_shortening_never_makes_two_names_equal(names: list[str], width: int) -> None:
    shown = distinct(names, width)
    assert set(shown) == set(names)
    assert len(set(shown.values())) == len(names)
    assert all(len(text) <= width for text in shown.values())
    assert all(shown[name] == name for name in names if len(name) <= width)


parts = st.sampled_from(["a", "b", "tests", "test_chat", "Größe"])
nodeids = st.builds(
    lambda folders, name: f"{'/'.join(folders)}.py::{name}",
    st.lists(parts, min_size=1, max_size=4),
    st.sampled_from(["test_a", "test_a[x::y]", "test_a # 2", "a::test_a", "test_" + "b" * 90, "test_" + "b" * 91]),
)


@given(st.lists(nodeids, unique=True, max_size=9), st.sampled_from([20, 30, 76]))
def test_no_two_checks_have_one_name(nodeids: list[str], width: int) -> None:
    names = Names(map(check, nodeids))
    assert len(set(names.within(width).values())) == len(nodeids)
    assert len({names[check(nodeid)] for nodeid in nodeids}) == len(nodeids)


def test_a_summary_of_nothing_has_no_names() -> None:
    assert not Names([]).within(20)
