"""The command `vllmperf`."""

from pathlib import Path

import pytest

from pytest_vllmperf import __version__, cli, models
from pytest_vllmperf.models import Shape

SMALL = Shape(vocab_size=300, hidden_size=8, intermediate_size=8, layers=1, heads=2, kv_heads=1)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(models.SHAPES, "tiny", SMALL)
    monkeypatch.setattr(models.tokenizer, "training_text", lambda seed: ["some words to train a tokenizer on"])
    monkeypatch.setenv("VLLMPERF_CACHE", str(tmp_path / "cache"))


def test_a_model_is_made_where_it_was_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "model"
    assert cli.main(["make-model", str(folder)]) == 0
    assert capsys.readouterr() == (f"{folder}\n", "")
    assert (folder / "model.safetensors").is_file()
    assert not (tmp_path / "cache").exists()


def test_by_default_it_is_made_in_the_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["make-model"]) == 0
    folder = Path(capsys.readouterr().out.strip())
    assert folder.parent == tmp_path / "cache"
    assert (folder / "config.json").is_file()
    assert cli.main(["make-model", "--shape", "tiny"]) == 0
    assert capsys.readouterr().out.strip() == str(folder)


def test_what_goes_wrong_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model").write_text("mine")
    assert cli.main(["make-model", str(tmp_path / "model")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"vllmperf: {tmp_path / 'model'} exists but is not a complete model")
    assert err.count("\n") == 1


def test_a_folder_of_the_users_own_is_left_alone_and_another_one_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert cli.main(["make-model", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert err.endswith("choose another folder\n")
    assert "remove" not in err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [([], "COMMAND"), (["measure"], "measure"), (["make-model", "--size", "huge"], "--size")],
)
def test_a_command_that_does_not_exist_is_refused(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert named in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"pytest-vllmperf {__version__}\n"


def test_a_quantized_model_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "model"
    assert cli.main(["make-model", str(folder), "--quantization", "int8"]) == 0
    assert '"format": "int-quantized"' in (folder / "config.json").read_text()
    assert cli.main(["make-model", "--quantization", "int8"]) == 0
    assert "tiny-int8" in capsys.readouterr().out.splitlines()[1]


@pytest.mark.parametrize("option", ["--shape", "--quantization"])
def test_a_model_that_does_not_exist_is_refused_in_one_line(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ([str(tmp_path / "model")], []):
        assert cli.main(["make-model", *folder, option, "huge"]) == 2
        err = capsys.readouterr().err
        assert "huge" in err
        assert err.count("\n") == 1
    assert not (tmp_path / "model").exists()
