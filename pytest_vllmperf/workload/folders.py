"""A Hugging Face dataset as a folder on disk: what `save_to_disk` writes, or parquet, JSON lines or CSV files."""

from __future__ import annotations

import csv
import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pytest_vllmperf.errors import WorkloadError, did_you_mean
from pytest_vllmperf.workload.entries import Entry, UnusableError, shown, take
from pytest_vllmperf.workload.rows import cell_entry
from pytest_vllmperf.workload.textfiles import lines, parsed, printable, whole_json, words

_SPLITS: Final = ("train", "test", "validation", "valid", "dev")
_OWN: Final = ("dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json")


def read_dataset(
    folder: object, column: object, requests: int | None, output_tokens: int, split: object
) -> list[Entry]:
    """The requests of one column.

    Args:
        folder: of the dataset, as the user wrote it.
        column: whose cells are text, lists of token ids, or lists of messages.
        requests: how many; None for all.
        output_tokens: of all.
        split: which part of the dataset; None where it has one.

    Raises:
        WorkloadError: for a folder or column that is not there, files that cannot be read, or no split named where
            there are several.
    """
    if not isinstance(column, str) or not column:
        raise WorkloadError(f"column={shown(column)} must be the name of a column")
    if split is not None and (not isinstance(split, str) or not split):
        raise WorkloadError(f"split={shown(split)} must be the name of a part of the dataset")
    name, place = _folder(folder)
    files = _files(name, place, split)

    def cells() -> Iterator[tuple[int, Any]]:
        number = 0
        for file in files:
            for cell in _READERS[file.suffix](f"{name}/{file.relative_to(place)}", file, column):
                number += 1
                yield number, cell

    def parse(_: int, cell: Any) -> Sequence[Entry]:
        if isinstance(cell, UnusableError):
            raise cell
        return [cell_entry(cell, output_tokens)]

    return take(f"{name}, column {column!r}", cells(), parse, requests, unit="row")


def _folder(folder: object) -> tuple[str, Path]:
    if not isinstance(folder, (str, os.PathLike)) or not isinstance(os.fspath(folder), str) or not os.fspath(folder):
        raise WorkloadError(f"folder={shown(folder)} must be the path of a dataset's folder")
    name, place = printable(os.fspath(folder)), Path(folder)
    try:
        if not place.is_dir():
            what = "is not a folder" if place.exists() else "no such folder"
            raise WorkloadError(f"{name}: {what}; pass a dataset folder on disk, as written by datasets.save_to_disk")
    except (OSError, ValueError) as error:
        raise WorkloadError(f"{name} cannot be opened: {words(error)}") from None
    return name.rstrip("/") or "/", place


def _files(name: str, place: Path, split: str | None) -> list[Path]:
    """The files of a dataset's part, in order."""
    if (place / "dataset_dict.json").is_file():
        place = place / _split_of(
            name, _names(f"{name}/dataset_dict.json", place / "dataset_dict.json", "splits"), split
        )
        split = None
    if (place / "state.json").is_file():
        state = f"{name}/state.json"
        listed = _names(state, place / "state.json", "_data_files", of="filename")
        missing = [one for one in listed if not (place / one).is_file() or Path(one).suffix != ".arrow"]
        if missing:
            raise WorkloadError(f"{state} names {missing[0]!r}, which does not exist")
        return [place / one for one in listed]
    found = sorted(
        file
        for file in place.rglob("*")
        if file.suffix in _READERS and file.name not in _OWN and file.is_file() and not _hidden(file, place)
    )
    parts = {part for part in (_part(file, place) for file in found) if part is not None}
    if split is not None or len(parts) > 1:
        wanted = _split_of(name, sorted(parts), split)
        found = [file for file in found if _part(file, place) == wanted]
    if not found:
        raise WorkloadError(f"{name} holds no arrow, parquet, jsonl, json or csv file")
    kinds = sorted({file.suffix for file in found})
    if len(kinds) > 1:
        raise WorkloadError(f"{name} holds files of several kinds ({', '.join(kinds)}); choose a folder with one kind")
    return found


def _hidden(file: Path, place: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(place).parts)


def _part(file: Path, place: Path) -> str | None:
    """The split that a file belongs to by its name or folder, as the Hub lays files out; None where neither tells."""
    stem = file.name.replace("-", ".").replace("_", ".").split(".")
    folders = file.relative_to(place).parts[:-1]
    return next((one for one in _SPLITS if stem[0] == one or one in folders), None)


def _split_of(name: str, known: Sequence[str], split: str | None) -> str:
    if split is None and len(known) == 1:
        return known[0]
    listed = ", ".join(map(repr, known)) or "none"
    if split is None:
        raise WorkloadError(f"{name} has several splits; choose one with split= ({listed})")
    if split not in known:
        raise WorkloadError(f"{name} has no split {split!r}; it has {listed}{did_you_mean(split, known)}")
    return split


def _names(name: str, file: Path, key: str, of: str | None = None) -> list[str]:
    """A list of names that `datasets` wrote."""
    content = whole_json(name, file)
    listed = content.get(key) if isinstance(content, Mapping) else None
    found = listed if isinstance(listed, list) else []
    if of is not None:
        found = [one.get(of) for one in found if isinstance(one, Mapping)]
    # `datasets` writes names of files. One with a path could lead out of the folder.
    if not found or not all(isinstance(one, str) and one and Path(one).name == one for one in found):
        raise WorkloadError(f"{name} is not a file of datasets.save_to_disk: {key!r} is not a list of names")
    return found


def _cell(row: Mapping[str, Any], column: str) -> Any:
    if column in row:
        return row[column]
    return UnusableError(_no_column(column, list(row)))


def _no_column(column: str, columns: Sequence[str]) -> str:
    return f"no column {column!r}, but {', '.join(map(repr, columns[:20]))}{did_you_mean(column, columns)}"


def _jsonl_cells(name: str, file: Path, column: str) -> Iterator[Any]:
    for _, line in lines(name, file):
        try:
            row = parsed(line)
            yield _cell(row, column) if isinstance(row, Mapping) else UnusableError(f"must be an object: {shown(row)}")
        except UnusableError as error:
            yield error


def _json_cells(name: str, file: Path, column: str) -> Iterator[Any]:
    """A list of rows; or JSON lines by another name, as the Hub has them."""
    if next((line[:1] for _, line in lines(name, file)), b"") != b"[":
        yield from _jsonl_cells(name, file, column)
        return
    for row in whole_json(name, file):
        yield _cell(row, column) if isinstance(row, Mapping) else UnusableError(f"must be an object: {shown(row)}")


def _csv_cells(name: str, file: Path, column: str) -> Iterator[Any]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream)
            columns = list(rows.fieldnames or ())
            if column not in columns:
                raise WorkloadError(f"{name}: {_no_column(column, columns)}")
            for row in rows:
                yield row[column]
    except UnicodeDecodeError as error:
        raise WorkloadError(f"{name} is not UTF-8 text (byte 0x{error.object[error.start]:02x})") from None
    except (csv.Error, OSError) as error:
        raise WorkloadError(f"{name} cannot be read: {words(error)}") from None


def _parquet_cells(name: str, file: Path, column: str) -> Iterator[Any]:
    parquet = _arrow_library(name, "pyarrow.parquet")
    try:
        with parquet.ParquetFile(file) as table:
            _check_column(name, column, table.schema_arrow.names)
            for batch in table.iter_batches(columns=[column]):
                yield from batch.column(0).to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's own errors are of these two
        raise WorkloadError(f"{name} is not a readable Parquet file: {_brief(error)}") from None


def _arrow_cells(name: str, file: Path, column: str) -> Iterator[Any]:
    arrow = _arrow_library(name, "pyarrow")
    ipc = _arrow_library(name, "pyarrow.ipc")
    try:
        with arrow.memory_map(str(file)) as source, ipc.open_stream(source) as batches:
            _check_column(name, column, batches.schema.names)
            for batch in batches:
                yield from batch.column(batch.schema.get_field_index(column)).to_pylist()
    except (OSError, ValueError) as error:
        raise WorkloadError(f"{name} is not an Arrow file of datasets.save_to_disk: {_brief(error)}") from None


def _check_column(name: str, column: str, columns: Sequence[str]) -> None:
    if column not in columns:
        raise WorkloadError(f"{name}: {_no_column(column, columns)}")


def _arrow_library(name: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise WorkloadError(f"reading {name} needs pyarrow: pip install pyarrow") from None


def _brief(error: Exception) -> str:
    return shown(str(error)).strip("'\"")


_READERS: Final[Mapping[str, Callable[[str, Path, str], Iterator[Any]]]] = {
    ".arrow": _arrow_cells,
    ".parquet": _parquet_cells,
    ".jsonl": _jsonl_cells,
    ".json": _json_cells,
    ".csv": _csv_cells,
}
