"""Whole dubs with the shipped weights: the lips follow the new speech, never the source's, whatever the options."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.geometry.mouth import apertures_of
from personatalk.inspection.seen_face import SeenFace, see_face
from personatalk.media import read_frames
from personatalk.metrics.geometry import correlation
from personatalk.options import DubbingOptions
from personatalk.pipeline import DubbingPipeline, load_pipeline
from personatalk.progress import Run

ASSETS = Path(__file__).parents[1] / "assets"
CLIP, SPEECH = ASSETS / "grid_speaker.mp4", ASSETS / "speech_bridge.wav"
FOLLOWS, LEAKS = 0.8, 0.3  # one clip of 3 s: chance correlations reach .2
NUM_FRAMES = 75

pytestmark = pytest.mark.weights


@lru_cache(maxsize=1)
def pipeline() -> DubbingPipeline:
    return load_pipeline(DEFAULT_FOLDER)


@lru_cache(maxsize=1)
def source() -> SeenFace:
    return see_face(CLIP, pipeline().face_model)


@dataclass(frozen=True)
class Dub:
    """A dub as it is seen, and the lip aperture [T] that stage 1 drove."""

    report: dict
    seen: SeenFace
    driven: np.ndarray

    def follows(self) -> float:
        """Correlation of the lip aperture seen with the driven one."""
        valid = self.seen.geometry.valid
        return correlation(self.seen.aperture[valid], self.driven[: len(valid)][valid])

    def leaks(self, true: np.ndarray) -> float:
        """Correlation of the lip aperture seen with the source's."""
        valid = self.seen.geometry.valid
        return correlation(self.seen.aperture[valid], true[valid])


def dub(clip: Path, output: Path, **options: object) -> Dub:
    chosen = DubbingOptions(**options)
    report = pipeline().dub(clip, SPEECH, output, chosen).report
    run = Run(None, None)
    faces = pipeline().read_faces(clip, chosen, run)
    driven = pipeline().drive(faces, pipeline().encode_speech(SPEECH), chosen, run)
    seen = see_face(output, pipeline().face_model)
    return Dub(report=report, seen=seen, driven=apertures_of(driven.head_vertices))


def write_frames(path: Path, images: list[np.ndarray], fps: int) -> Path:
    """Write frames nearly without loss, silent."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps), options={"crf": "6", "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def clip_frames() -> list[np.ndarray]:
    return [frame.image for frame in read_frames(CLIP)]


def test_lips_follow_the_speech_and_not_the_source(tmp_path):
    result = dub(CLIP, tmp_path / "out.mp4")
    assert result.follows() > FOLLOWS
    assert abs(result.leaks(source().aperture)) < LEAKS
    assert result.report["num_frames"] == NUM_FRAMES and result.report["num_passed_through"] == 0


def nearest_reference_s(clip: Path, **options: object) -> float:
    """Seconds between a frame of a dub and the nearest frame of the clip that has a say in it, the least of all."""
    run, chosen = Run(None, None), DubbingOptions(**options)
    faces = pipeline().read_faces(clip, chosen, run)
    assert faces.is_same_clip and faces.style is faces.source
    driven = pipeline().drive(faces, pipeline().encode_speech(SPEECH), chosen, run)
    renderer = pipeline().clip_renderer(faces, driven, pipeline().select_references(faces, driven, chosen, run))
    times, gaps = faces.source.geometry.times, []
    for position in range(0, len(times), 5):
        ranked = renderer.rank(position).active()
        for frames in (ranked.lip_frames, ranked.face_frames):
            gaps.append(np.abs(times[frames] - times[position]).min())
    return float(min(gaps))


@pytest.mark.parametrize("kind", ["same path", "relative", "link", "copy"])
def test_a_reference_video_that_is_the_clip_itself_opens_no_way_to_the_true_mouth(tmp_path, monkeypatch, kind):
    other = tmp_path / "other.mp4"
    if kind == "same path":
        other = CLIP
    elif kind == "relative":
        monkeypatch.chdir(CLIP.parent)
        other = Path(CLIP.name)
    elif kind == "link":
        other.symlink_to(CLIP)
    else:
        shutil.copy(CLIP, other)
    assert nearest_reference_s(CLIP, reference_video=other) > 0.31


def test_at_fifty_frames_a_second_references_stay_as_far_away_in_time(tmp_path):
    fast = write_frames(tmp_path / "fast.mp4", [image for image in clip_frames() for _ in range(2)], 50)
    assert nearest_reference_s(fast) > 0.31
    result = dub(fast, tmp_path / "out.mp4")
    assert result.follows() > FOLLOWS
    assert abs(result.leaks(np.repeat(source().aperture, 2))) < LEAKS


def test_with_a_style_video_and_as_long_as_the_speech(tmp_path):
    result = dub(CLIP, tmp_path / "out.mp4", style_video=ASSETS / "rendered_head.mp4", length="audio")
    assert result.follows() > FOLLOWS
    count = min(NUM_FRAMES, result.report["num_frames"])
    assert abs(correlation(result.seen.aperture[:count], source().aperture[:count])) < 0.5


def test_after_frames_without_a_face(tmp_path):
    images = clip_frames()
    blank = [np.full_like(images[0], 90)] * 15
    result = dub(write_frames(tmp_path / "late.mp4", blank + images, 25), tmp_path / "out.mp4")
    assert result.report["num_passed_through"] >= 15
    later = slice(15 + 4, None)
    assert correlation(result.seen.aperture[later], result.driven[later]) > FOLLOWS


def test_a_still_image_with_its_mouth_shut_speaks(tmp_path):
    """No frame shows the mouth open, and no speech tells a style: it moves as the average speaker's."""
    aperture, portrait = source().aperture, tmp_path / "portrait.png"
    (frame,) = read_frames(CLIP, only={int(aperture.argmin())})
    Image.fromarray(frame.image).save(portrait)
    result = pipeline().dub(portrait, SPEECH, tmp_path / "spoken.mp4")
    seen = see_face(tmp_path / "spoken.mp4", pipeline().face_model)
    valid, driven = seen.geometry.valid, result.driven_aperture[: seen.num_frames]
    assert valid.mean() > 0.95
    assert correlation(seen.aperture[valid], driven[valid]) >= FOLLOWS
    assert driven.std() > 0.03  # IOD; a style taken from the shut mouth gave .012 at most
    assert seen.aperture[valid].std() > 0.7 * driven[valid].std()
    assert result.report["speaking_style"]["own_share"] < 0.05
