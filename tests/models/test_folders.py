"""A folder is made whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_vllmperf.models import folders


def test_it_takes_its_name_at_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with folders.whole(folder) as made:
        (made / "config.json").write_text("{}")
        assert (made.parent, folder.exists()) == (tmp_path, False)
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    assert folder.stat().st_mode & 0o777 == 0o755
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_after_an_error_nothing_is_left(tmp_path: Path, error: BaseException) -> None:
    def fail(made: Path) -> None:
        (made / "config.json").write_text("{}")
        raise error

    with pytest.raises(type(error)), folders.whole(tmp_path / "model") as made:
        fail(made)
    assert list(tmp_path.iterdir()) == []


def test_a_finished_folder_is_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "mine").touch()
    with pytest.raises(OSError, match="not empty"), folders.whole(folder) as made:
        (made / "config.json").write_text("{}")
    assert [path.name for path in folder.iterdir()] == ["mine"]
    assert list(tmp_path.iterdir()) == [folder]


def test_what_another_process_is_making_stays(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with folders.whole(folder) as first:
        (first / "config.json").write_text("{}")
        with pytest.raises(KeyboardInterrupt), folders.whole(folder):
            raise KeyboardInterrupt
        assert first.is_dir()
    assert list(tmp_path.iterdir()) == [folder]


def test_what_nobody_makes_any_more_goes_and_similar_names_stay(tmp_path: Path) -> None:
    left, others = tmp_path / ".model.making-abc", [tmp_path / ".model-2.making-abc", tmp_path / ".model.mine"]
    for path in (left, *others):
        path.mkdir()
    with folders.whole(tmp_path / "model"):
        pass
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "model"])


def test_a_link_in_the_place_of_leftovers_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (tmp_path / ".model.making-abc").symlink_to(tmp_path / "precious")
    with folders.whole(tmp_path / "model"):
        pass
    assert (tmp_path / "precious" / "file").exists()
