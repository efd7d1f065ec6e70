"""Images, audio and video in chats."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.verdict.workload_changes import workload_changes
from pytest_vllmperf.workload import Workload

Refused = Callable[..., str]
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
DATA = f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}"


def chat(*urls: object, kind: str = "image_url") -> list[dict[str, Any]]:
    parts = [{"type": kind, kind: {"url": url, "detail": "low"}} for url in urls]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "what is it?"}]}]


def work(*urls: object, **changed: Any) -> Workload:
    return Workload.chat([chat(*urls)], output_tokens=4, **changed)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "a cat.png"
    path.write_bytes(PIXEL)
    return path


def test_a_local_file_is_sent_as_what_it_holds(image: Path) -> None:
    for url in (image, str(image), image.as_uri(), DATA):
        (request,) = work(url).requests(100)
        assert request.messages is not None
        first, text = request.messages[0]["content"]
        assert first == {"type": "image_url", "image_url": {"url": DATA, "detail": "low"}}
        assert text == {"type": "text", "text": "what is it?"}
        assert work(url).key == work(DATA).key
        assert request.to_wire()["messages"][0]["content"][0] == first


def test_a_changed_image_is_another_workload_and_told_in_words(image: Path) -> None:
    before = work(image)
    assert before.media == {"image items": 1, "image contents": before.media["image contents"]}
    image.write_bytes(PIXEL + b"\0")
    after = work(image)
    assert before.key != after.key
    then, now = (json.loads(json.dumps(one.describe())) for one in (before, after))
    assert list(workload_changes(then, now)) == ["image contents changed"]
    now = json.loads(json.dumps(work(image, image).describe()))
    assert list(workload_changes(then, now)) == ["image items 1 -> 2", "image contents changed"]


def test_text_alone_has_no_media_and_its_old_key() -> None:
    plain = Workload.chat([[{"role": "user", "content": "an image_url"}]], output_tokens=4)
    assert plain.media == {}
    assert "media" not in plain.describe()
    parts = Workload.chat(
        [[{"role": "user", "content": [{"type": "text", "text": 'the "image_url"'}]}]], output_tokens=4
    )
    assert parts.media == {}


def test_audio_and_video(tmp_path: Path) -> None:
    sound, film = tmp_path / "a.wav", tmp_path / "a.mp4"
    sound.write_bytes(b"RIFF")
    film.write_bytes(b"....")
    chats = [chat(sound, kind="audio_url"), chat(film, kind="video_url")]
    inline = [
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}]}
    ]
    found = Workload.chat([*chats, inline], output_tokens=1).media
    assert {name: value for name, value in found.items() if name.endswith("items")} == {
        "audio items": 2,
        "video items": 1,
    }


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://example.com/cat.png", "fetching it would be a part of what is measured; save it and name the file"),
        ("cat.png", "has image 'cat.png', which cannot be read: No such file or directory"),
        ("cat.wav", "whose name does not end as that of image does"),
        ("cat", "whose name does not end as that of image does"),
        (3, "has a part 'image_url' without a URL"),
        ("a\0b.png", "which cannot be read"),
        (".png", "whose name does not end as that of image does"),
    ],
)
def test_what_cannot_be_sent_is_refused_in_one_line(url: object, said: str, refused: Refused) -> None:
    line = refused(work, url)
    assert line.startswith("chat 0 has ")
    assert said in line
    assert "\n" not in line


def test_a_file_that_is_too_large(image: Path, refused: Refused) -> None:
    with image.open("r+b") as file:
        file.truncate(65 << 20)
    assert "of 65 MiB; the limit is 64 MiB" in refused(work, image)


def test_a_file_of_chats_names_no_other_files(tmp_path: Path, image: Path, refused: Refused) -> None:
    """It may come from elsewhere: what it names on this machine would be sent to a server."""
    path = tmp_path / "chats.jsonl"
    path.write_text(json.dumps({"messages": chat(DATA), "output_tokens": 4}))
    assert Workload.jsonl(path).media == work(DATA).media
    path.write_text(json.dumps({"messages": chat(str(image)), "output_tokens": 4}))
    assert "write it as a data: URL; other files are not read from here" in refused(Workload.jsonl, path)


def test_a_mixed_file_knows_its_images(tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    lines = [{"messages": chat(DATA), "output_tokens": 4}, {"prompt": "hello", "output_tokens": 4}]
    path.write_text("\n".join(map(json.dumps, lines)))
    assert Workload.jsonl(path).media == work(DATA).media
