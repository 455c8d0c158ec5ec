"""A dub of a clip with several shots changes one person only, and only by what that person shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from media_samples import ASSETS, psnr
from person_clips import dissolve, images_of, rendered_head, speaker, write_clip

from personatalk.geometry.tracking import MediaPipeTracker
from personatalk.persons.embedding import FaceEmbedder, cut_face_chip, embed
from personatalk.persons.identity import SAME_PERSON

pytestmark = pytest.mark.weights

SPEECH = ASSETS / "speech_bridge.wav"
FIRST, OTHER, SECOND = slice(0, 40), slice(40, 70), slice(70, 105)  # speaker, rendered head, speaker
UNTOUCHED_DB = 40.0  # what is only compressed again stays above
DUBBED = 2.0  # levels; mean change of the mouth that compression alone does not reach
REPORTED = ("lip_references", "face_references")


@dataclass(frozen=True)
class Dub:
    source: np.ndarray
    dubbed: np.ndarray
    report: dict

    def is_untouched(self, frames: slice) -> np.ndarray:
        pairs = zip(self.source[frames], self.dubbed[frames], strict=True)
        return np.array([psnr(first, second) > UNTOUCHED_DB for first, second in pairs])

    def mouth_changes(self) -> np.ndarray:
        """[T] mean change of the speaker's mouth, levels."""
        mouth = np.s_[:, 160:205, 145:177]
        return np.abs(self.source[mouth].astype(float) - self.dubbed[mouth]).mean((1, 2, 3))


@pytest.fixture(scope="module")
def dub(tmp_path_factory, pipeline):
    folder = tmp_path_factory.mktemp("shots")
    frames = speaker(40) + rendered_head(30) + speaker(35, start=40)
    clip = write_clip(folder / "three shots.mp4", frames, ASSETS / "grid_speaker.mp4")
    result = pipeline.dub(clip, SPEECH, folder / "dubbed.mp4")
    return Dub(source=images_of(clip), dubbed=images_of(result.video), report=result.report)


def test_the_shot_of_another_person_is_left_as_it_is(dub):
    assert dub.is_untouched(OTHER).all()
    assert dub.report["num_passed_through"] == 30
    assert [shot["shows_the_person"] for shot in dub.report["shots"]] == [True, False, True]
    assert dub.report["shots"][1]["left_alone_because"] == "another person"


def test_both_shots_of_the_person_are_dubbed_up_to_the_cut(dub):
    changes = dub.mouth_changes()
    assert min(changes[FIRST].min(), changes[SECOND].min()) > DUBBED
    assert changes[[39, 70]].min() > 3 * DUBBED, "there is no fade at a cut"


def test_references_are_of_the_person(dub):
    for name in REPORTED:
        frames = np.array(dub.report[name])
        assert len(frames) and not ((frames >= OTHER.start) & (frames < OTHER.stop)).any()


def test_every_dubbed_face_is_the_persons(dub):
    own = embeddings_of(dub.source[FIRST][::8])
    other = embeddings_of(dub.source[OTHER][::8])
    for shot in (FIRST, SECOND):
        found = embeddings_of(dub.dubbed[shot])
        to_own, to_other = (np.linalg.norm(found[:, None] - who, axis=-1).mean(1) for who in (own, other))
        assert (to_own < SAME_PERSON).all() and (to_own < to_other).all()


def test_frames_within_a_dissolve_are_left_as_they_are(tmp_path, pipeline):
    frames = [*speaker(40), *dissolve(speaker(8, start=40), rendered_head(8)), *rendered_head(30, start=8)]
    clip = write_clip(tmp_path / "dissolve.mp4", frames)
    result = pipeline.dub(clip, SPEECH, tmp_path / "dubbed.mp4")
    dub = Dub(source=images_of(clip), dubbed=images_of(result.video), report=result.report)
    assert dub.is_untouched(slice(41, 78)).all() and dub.mouth_changes()[:34].min() > DUBBED


def embeddings_of(images: np.ndarray) -> np.ndarray:
    """[N, 128] of the largest face of each picture [N, H, W, 3]."""
    with MediaPipeTracker() as tracker:
        return embed(FaceEmbedder.load(), np.stack([cut_face_chip(image, tracker.track(image)) for image in images]))
