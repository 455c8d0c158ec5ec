"""One reader of manifests, one clip, one place for each of its caches, and offsets that were measured."""

from __future__ import annotations

import numpy as np
import pytest

from personatalk.errors import MediaError
from personatalk.geometry.tracking import FaceTrack
from personatalk.training.corpus import (
    MeasuredClip,
    cache_path,
    clips_of_folder,
    load_track,
    read_geometry,
    read_manifest,
    read_track,
    save_track,
    spread_over_persons,
    with_measured_offsets,
    write_offsets,
)


def manifest(tmp_path, *lines: str):
    path = tmp_path / "manifest.tsv"
    path.write_text("\n".join(line.replace(" ", "\t") for line in lines) + "\n")
    return path


def test_blank_fields_are_not_known(tmp_path):
    path = manifest(
        tmp_path,
        "file split person sound offset fit seconds language source",
        "a.mp4 val 1 1 2 .5 3.5 ar grid",
        "b.mp4 val 2 0     ",
        "c.mp4 train 3 1     ",
    )
    first, second = read_manifest(path, "val")
    assert (first.name, first.has_sound, first.offset_s, first.fit) == ("a", True, 0.08, 0.5)
    assert (first.seconds, first.language, first.source) == (3.5, "ar", "grid")
    assert (second.has_sound, second.offset_s, second.fit, second.seconds) == (False, 0.0, None, None)
    assert [clip.split for clip in read_manifest(path)] == ["val", "val", "train"]


def test_what_is_not_known_leaves_no_clip_out(tmp_path):
    path = manifest(
        tmp_path, "file split person sound fit seconds", "a.mp4 val 1 1 .2 1", "b.mp4 val 2 1  ", "c.mp4 val 3 0  "
    )
    low, unknown, silent = read_manifest(path)
    assert [clip.has_fitting_sound(0.3) for clip in (low, unknown, silent)] == [False, True, False]
    assert low.has_fitting_sound(0.2)
    assert [clip.is_long_enough(2) for clip in (low, unknown)] == [False, True]


def test_three_columns_are_enough(tmp_path):
    (clip,) = read_manifest(manifest(tmp_path, "file split person", "a.mp4 train 1"))
    assert clip.has_sound and clip.person == "1"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("file split sound", "a.mp4 val 1"), "no column person"),
        (("file split person offset", "a.mp4 val 1 two"), "a.mp4: offset 'two' is no number"),
        (("file split person", "a.mp4 val 1", "a.mov val 2"), "a.mp4 and a.mov would share"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(tmp_path, lines, message):
    with pytest.raises(MediaError, match=message):
        read_manifest(manifest(tmp_path, *lines))


def test_a_missing_manifest_is_refused(tmp_path):
    with pytest.raises(MediaError, match="no manifest .*none.tsv"):
        read_manifest(tmp_path / "none.tsv")


def test_persons_of_a_folder_are_split_by_folder(tmp_path):
    for index in range(40):
        (tmp_path / f"person{index}").mkdir()
        for name in ("a", "b"):
            (tmp_path / f"person{index}" / f"{name}{index}.mp4").touch()
    clips = clips_of_folder(tmp_path)
    splits = {person: {clip.split for clip in clips if clip.person == person} for person in {c.person for c in clips}}
    assert len(clips) == 80 and all(len(split) == 1 for split in splits.values())
    assert 1 <= sum("val" in split for split in splits.values()) <= 12


def test_clips_of_one_name_in_two_folders_have_caches_of_their_own(tmp_path):
    for person in ("ann", "bob"):
        (tmp_path / person).mkdir()
        (tmp_path / person / "clip1.mp4").touch()
    ann, bob = clips_of_folder(tmp_path)
    assert cache_path(tmp_path, "tracks", ann) != cache_path(tmp_path, "tracks", bob)


def test_caches_are_found_under_the_name_of_the_file(tmp_path):
    (clip,) = read_manifest(manifest(tmp_path, "file split person", "grid_1.mp4 train 1"))
    assert cache_path(tmp_path, "geometry", clip) == tmp_path / "geometry" / "grid_1.npz"
    assert cache_path(tmp_path, "windows", clip) == tmp_path / "windows" / "grid_1.npy"
    assert read_track(tmp_path, clip) is None and read_geometry(tmp_path, clip) is None


def test_a_track_comes_back(tmp_path):
    landmarks = np.random.default_rng(0).normal(size=(3, 478, 3)).astype(np.float32)
    track = FaceTrack(
        landmarks=landmarks, detected=np.array([True, False, True]), times=np.arange(3) / 25, width=64, height=48
    )
    save_track(track, tmp_path / "track.npz")
    again = load_track(tmp_path / "track.npz")
    for name, value in vars(track).items():
        np.testing.assert_array_equal(getattr(again, name), value)
    assert isinstance(again.width, int)


def test_a_limit_takes_every_person_before_a_second_clip_of_any(tmp_path):
    lines = [f"{number}.mp4 val {person}" for number, person in enumerate("aaabbc")]
    clips = read_manifest(manifest(tmp_path, "file split person", *lines))
    assert [clip.person for clip in spread_over_persons(clips, 4)] == ["a", "b", "c", "a"]
    assert sorted(clip.file for clip in spread_over_persons(clips)) == [clip.file for clip in clips]


def test_measured_offsets_replace_those_of_the_manifest(tmp_path):
    clips = read_manifest(manifest(tmp_path, "file split person offset", "a.mp4 val 1 2", "b.mp4 val 2 2"))
    assert with_measured_offsets(clips, tmp_path) == clips
    with pytest.raises(MediaError, match="train offsets"):
        with_measured_offsets(clips, tmp_path, is_required=True)
    write_offsets([MeasuredClip(name="a", offset_s=-0.06, in_sync=0.25)], tmp_path)
    assert (tmp_path / "offsets.tsv").read_text() == "clip\toffset\tin_sync\na\t-1.5\t0.250\n"
    measured, other = with_measured_offsets(clips, tmp_path, is_required=True)
    assert (measured.offset_s, measured.fit) == (pytest.approx(-0.06), 0.25)
    assert other == clips[1]
