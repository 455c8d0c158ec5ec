from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from personatalk.media import sameness
from personatalk.media.sameness import same_media


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(os.urandom(3_000_000))
    return path


def test_another_way_to_write_the_path_is_the_same(clip, monkeypatch):
    monkeypatch.chdir(clip.parent)
    (clip.parent / "folder").mkdir()
    for written in ("clip.mp4", "./clip.mp4", "folder/../clip.mp4"):
        assert same_media(Path(written), clip) and same_media(clip, Path(written))


@pytest.mark.parametrize("make", [os.symlink, os.link, shutil.copy], ids=["symbolic link", "hard link", "copy"])
def test_links_and_copies_are_the_same(clip, make):
    other = clip.with_name("other.mov")
    make(clip, other)
    assert same_media(clip, other) and same_media(other, clip)


@pytest.mark.parametrize("position", [0, 1_500_000, 2_999_999])
def test_one_other_byte_is_another_file(clip, position):
    data = bytearray(clip.read_bytes())
    data[position] ^= 1
    other = clip.with_name("other.mp4")
    other.write_bytes(data)
    assert not same_media(clip, other)


def test_a_start_of_a_file_is_not_the_file(clip):
    other = clip.with_name("other.mp4")
    other.write_bytes(clip.read_bytes()[:-1])
    assert not same_media(clip, other)


def test_a_missing_file_is_like_no_other(clip, tmp_path):
    assert not same_media(clip, tmp_path / "missing.mp4")
    assert not same_media(tmp_path / "missing.mp4", tmp_path / "gone.mp4")
    assert same_media(tmp_path / "missing.mp4", tmp_path / "." / "missing.mp4")


def test_contents_are_read_once_until_they_change(clip, monkeypatch):
    other = clip.with_name("other.mp4")
    shutil.copy(clip, other)
    assert same_media(clip, other)
    misses = sameness._digest.cache_info().misses
    assert same_media(clip, other)
    assert sameness._digest.cache_info().misses == misses
    other.write_bytes(os.urandom(3_000_000))
    assert not same_media(clip, other)
