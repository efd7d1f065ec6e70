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
