"""A dataset's folder on disk: files of each kind, splits, columns."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.workload import Workload

Write = Callable[..., Path]
Refused = Callable[..., str]

ROWS: list[dict[str, Any]] = [
    {"text": "one", "ids": [1, 2]},
    {"text": "two", "ids": [3]},
    {"text": "three", "ids": [4]},
]
CSV = "n,text\n1,one\n2,two\n3,three\n"


def texts(workload: Workload) -> list[str | None]:
    return [request.prompt for request in workload.requests(10)]


def read(column: str = "text", **changed: Any) -> Workload:
    return Workload.dataset("data", column, **{"output_tokens": 4, **changed})


def test_files_of_the_standard_library_are_read_alike(write: Write, folder: Path) -> None:
    keys = set()
    for name, content in (
        ("a.jsonl", {"lines": ROWS}),
        ("a.json", {"content": ROWS}),
        ("a.json", {"lines": ROWS}),
        ("a.csv", {"content": CSV}),
        ("a.csv", {"content": "\ufeff" + CSV.replace("\n", "\r\n")}),
    ):
        file = folder / write(f"data/{name}", **content)
        assert texts(read()) == ["one", "two", "three"]
        keys.add(read().key)
        file.unlink()
    assert keys == {Workload.prompts(["one", "two", "three"], output_tokens=4).key}


def test_cells_of_a_table_may_have_lines_and_commas(write: Write) -> None:
    write("data/a.csv", 'text\n"one,\ntwo ""x"""\n')
    assert texts(read()) == ['one,\ntwo "x"']


def test_a_column_of_token_ids(write: Write) -> None:
    write("data/a.jsonl", lines=ROWS)
    assert [request.prompt_token_ids for request in read("ids").requests(10)] == [(1, 2), (3,), (4,)]


def test_a_column_of_conversations_is_sent_without_the_last_answer(write: Write) -> None:
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    sharegpt = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    write("data/a.jsonl", lines=[{"talk": [*talk, {"role": "assistant", "content": "d"}]}, {"talk": sharegpt}])
    made = read("talk").requests(10)
    assert [list(request.messages or ()) for request in made] == [talk, talk[:1]]


def test_settings_reach_the_workload(write: Write) -> None:
    write("data/a.csv", CSV)
    made = read(requests=2, concurrency=2, seed=3, temperature=0.5, ignore_eos=False, output_tokens=7)
    assert (made.count, made.concurrency, made.seed, made.temperature) == (2, 2, 3, 0.5)
    assert (made.ignore_eos, made.output_tokens) == (False, 7)


def test_files_are_read_in_the_order_of_their_names_and_no_further_than_needed(write: Write, refused: Refused) -> None:
    write("data/part-1.jsonl", lines=[{"text": "c"}])
    write("data/part-0.jsonl", lines=[{"text": "a"}, {"text": "b"}])
    write("data/part-2.jsonl", "broken")
    assert texts(read(requests=3)) == ["a", "b", "c"]
    assert "row 4: not JSON" in refused(read)


def test_splits_are_told_by_names_and_folders(write: Write, refused: Refused) -> None:
    write("data/README.md", "x")
    write("data/train-00000-of-00001.csv", "text\na\n")
    write("data/test.csv", "text\nb\n")
    write("data/validation/0.csv", "text\nc\n")
    assert [texts(read(split=split)) for split in ("train", "test", "validation")] == [["a"], ["b"], ["c"]]
    assert "choose one with split= ('test', 'train', 'validation')" in refused(read)
    assert "no split 'tran'" in refused(read, split="tran")
    assert "did you mean 'train'?" in refused(read, split="tran")


def test_one_split_needs_no_name(write: Write, refused: Refused) -> None:
    write("data/data/train-00000-of-00001.csv", "text\na\n")
    assert texts(read()) == texts(read(split="train")) == ["a"]
    assert "data has no split 'test'; it has 'train'" in refused(read, split="test")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "x", "data holds no arrow, parquet, jsonl, json or csv file"),
        (".cache/a.csv", CSV, "data holds no arrow"),
        ("a.csv", "", "data/a.csv: no column 'text', but"),
        ("a.csv", "n,txt\n", "data/a.csv: no column 'text', but 'n', 'txt'; did you mean 'txt'?"),
        ("a.csv", b"text\n\xff\n", "data/a.csv is not UTF-8 text (byte 0xff)"),
        ("a.csv", f"text\n{'x' * 200_000}\n", "data/a.csv cannot be read: field larger than"),
        ("a.csv", "n,text\n1\n", "data, column 'text', row 1: a prompt must be a non-empty string, not None"),
        ("a.csv", "text\n", "data, column 'text' holds no usable request"),
        ("a.jsonl", '{"text": "a"}\n{"txt": 1}\n', "data, column 'text', row 2: no column 'text', but 'txt'"),
        ("a.jsonl", '{"text": "a"}\n{"text": 7}\n[]\n', "2 of 3 rows cannot be used (rows 2, 3); row 2: a prompt must"),
        ("a.json", "[{}", "data/a.json: not JSON"),
        ("a.json", "[7]", "row 1: must be an object: 7"),
        ("a.jsonl", '{"text": [{"role": "user"}]}', "message 0 must have"),
        ("a.jsonl", '{"text": [{"role": "assistant", "content": "x"}]}', "must be a list of messages"),
        (
            "state.json",
            '{"_data_files": [{"filename": "x.arrow"}]}',
            "data/state.json names 'x.arrow', which does not exist",
        ),
        ("state.json", '{"_data_files": [{"filename": "../x.arrow"}]}', "'_data_files' is not a list of names"),
        ("state.json", "[]", "data/state.json is not a file of datasets.save_to_disk"),
        ("dataset_dict.json", '{"splits": []}', "data/dataset_dict.json is not a file of datasets.save_to_disk"),
        ("dataset_dict.json", "{", "data/dataset_dict.json: not JSON"),
    ],
)
def test_folders_that_cannot_be_used_are_refused(
    name: str, content: Any, words: str, write: Write, refused: Refused
) -> None:
    write(f"data/{name}", content)
    assert words in refused(read)


def test_files_of_several_kinds_are_refused(write: Write, refused: Refused) -> None:
    write("data/a.csv", CSV)
    write("data/a.jsonl", lines=ROWS)
    assert refused(read) == "data holds files of several kinds (.csv, .jsonl); choose a folder with one kind"


def test_fewer_rows_than_asked_for_are_refused(write: Write, refused: Refused) -> None:
    write("data/a.csv", CSV)
    assert refused(read, requests=4) == "data, column 'text' holds 3 requests, fewer than requests=4"


def test_what_is_no_folder_is_refused(write: Write, refused: Refused) -> None:
    write("file", "x")
    assert "nowhere: no such folder" in refused(Workload.dataset, "nowhere", "text", output_tokens=1)
    assert "file: is not a folder" in refused(Workload.dataset, "file", "text", output_tokens=1)
    assert "folder=3 must be" in refused(Workload.dataset, 3, "text", output_tokens=1)
    assert "column=None must be" in refused(Workload.dataset, ".", None, output_tokens=1)
    assert "split=3 must be" in refused(Workload.dataset, ".", "text", output_tokens=1, split=3)
    assert "output_tokens=None must be" in refused(Workload.dataset, ".", "text", output_tokens=None)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_files_that_need_pyarrow_say_so(
    name: str, write: Write, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("pyarrow", "pyarrow.parquet", "pyarrow.ipc"):
        monkeypatch.setitem(sys.modules, module, None)
    write(f"data/{name}", b"x")
    assert refused(read) == f"reading data/{name} needs pyarrow: pip install pyarrow"


def test_parquet_files_are_read(folder: Path, refused: Refused) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    (folder / "data").mkdir()
    for number, rows in enumerate((ROWS[:2], ROWS[2:])):
        parquet.write_table(arrow.Table.from_pylist(rows), folder / f"data/train-{number}.parquet")
    assert texts(read()) == ["one", "two", "three"]
    assert [request.prompt_token_ids for request in read("ids").requests(10)] == [(1, 2), (3,), (4,)]
    assert "data/train-0.parquet: no column 'txt', but 'text', 'ids'; did you mean 'text'?" in refused(read, "txt")
    (folder / "data/train-1.parquet").write_bytes(b"PAR1 broken")
    assert "data/train-1.parquet is not a readable Parquet file" in refused(read)


def save(place: Path, *parts: list[dict[str, Any]]) -> None:
    """Write rows as `datasets.save_to_disk` does: streams of arrow, and a list of them."""
    arrow = pytest.importorskip("pyarrow")
    place.mkdir(parents=True)
    names = [f"data-{number:05}-of-{len(parts):05}.arrow" for number in range(len(parts))]
    for name, rows in zip(names, parts, strict=True):
        table = arrow.Table.from_pylist(rows)
        with arrow.OSFile(str(place / name), "wb") as sink, arrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=1)
    (place / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (place / "dataset_info.json").write_text("{}")


def test_saved_datasets_are_read(folder: Path, refused: Refused) -> None:
    save(folder / "data", ROWS[:2], ROWS[2:])
    assert texts(read()) == ["one", "two", "three"]
    assert "no column 'txt'" in refused(read, "txt")
    (folder / "data/data-00001-of-00002.arrow").write_bytes(b"broken")
    assert "data-00001-of-00002.arrow is not an Arrow file of datasets.save_to_disk" in refused(read)


def test_saved_splits_are_read(folder: Path, refused: Refused) -> None:
    save(folder / "data/train", ROWS[:2])
    save(folder / "data/mine", ROWS[2:])
    (folder / "data/dataset_dict.json").write_text(json.dumps({"splits": ["train", "mine"]}))
    assert texts(read(split="mine")) == ["three"]
    assert "data has several splits; choose one with split= ('train', 'mine')" in refused(read)
    assert "no split 'min'" in refused(read, split="min")
