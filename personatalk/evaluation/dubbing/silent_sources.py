"""Sources that never speak: still images of persons with their mouths shut, dubbed with other people's speech."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
import torch

from personatalk import metrics
from personatalk.errors import PersonaTalkError
from personatalk.evaluation.dubbing.dubs import Judge, network_judge, sync_figures
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.report import report_of
from personatalk.geometry.mouth import driven_aperture
from personatalk.geometry_construction.model import predict_expression
from personatalk.inspection.seen_face import see_face
from personatalk.media import read_audio, read_frames
from personatalk.pipeline import DubbingPipeline, load_pipeline
from personatalk.training.corpus import Clip, read_geometry, spread_over_persons

MIN_SECONDS = 2.0
NUM_PERSONS, NUM_SPEECHES = 20, 3
MIN_FIT = 0.3  # below, a clip's sound may belong to another face


@dataclass(frozen=True, kw_only=True)
class SilentSources:
    """What the evaluation runs on every person.

    Attributes:
        inputs: where the clips are.
        pipeline: dubs.
        judge: measures the offset of mouth and sound; it has no part in the dubs.
    """

    inputs: EvaluationInputs
    pipeline: DubbingPipeline
    judge: Judge

    def figures(self, portrait: Path, speech: Path, folder: Path) -> dict[str, float]:
        """Dub a still image, and compare the mouth that is seen with what was driven and with the average speaker's."""
        output = folder / "dub.mp4"
        driven = self.pipeline.dub(portrait, speech, output).driven_aperture
        seen = see_face(output, self.pipeline.face_model)
        valid = seen.geometry.valid
        usual = self.average_deviation(speech, seen.geometry.times)
        found = self.judge(read_audio(speech), seen.geometry)
        return {
            "seen_over_average_deviation": float(seen.aperture[valid].std() / usual),
            "driven_over_average_deviation": float(driven.std() / usual),
            "seen_over_driven_deviation": metrics.deviation_ratio(seen.aperture[valid], driven[: len(valid)][valid]),
            "follows_r": metrics.correlation(seen.aperture[valid], driven[: len(valid)][valid]),
            **sync_figures(found, expected_s=0.0),
        }

    def average_deviation(self, speech: Path, times: np.ndarray) -> float:
        """IOD: deviation of the lip aperture with which the average speaker says a speech."""
        model, face_model = self.pipeline.geometry_model, self.pipeline.face_model
        features = self.pipeline.encode_speech(speech).features
        spoken = predict_expression(model, features, torch.from_numpy(times), model.average_style).numpy()
        return float(driven_aperture(spoken, face_model.mean, face_model).std())

    def write_portrait(self, clip: Clip, path: Path) -> bool:
        """Write the frame of a clip whose mouth is least open; false where no face was found."""
        geometry, face_model = read_geometry(self.inputs.corpus, clip), self.pipeline.face_model
        if geometry is None or not geometry.valid.any():
            return False
        speech = geometry.expression[:, : face_model.num_speech]
        aperture = np.where(geometry.valid, driven_aperture(speech, geometry.template, face_model), np.inf)
        (frame,) = read_frames(self.inputs.clip_path(clip), only={int(aperture.argmin())})
        cv2.imwrite(str(path), cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
        return True


def evaluate_silent_sources(inputs: EvaluationInputs) -> dict:
    """Dub the stillest picture of each person, at most 20 or the limit, with three speeches of others.

    Returns:
        what `report_of` gives: one row, an entry a dub.

    Raises:
        PersonaTalkError: no clip with sound is long enough.
    """
    protocol = SilentSources(
        inputs=inputs,
        pipeline=load_pipeline(inputs.checkpoints, str(inputs.device)),
        judge=network_judge(inputs.checkpoints),
    )
    clips = spread_over_persons(inputs.read_clips())
    voices = [clip for clip in clips if clip.is_long_enough(MIN_SECONDS) and clip.has_fitting_sound(MIN_FIT)]
    if not any(clip.has_sound for clip in voices):
        raise PersonaTalkError(f"no clip with sound lasts {MIN_SECONDS:g} s")
    persons = list({clip.person: clip for clip in reversed(clips)}.values())[::-1][: inputs.limit or NUM_PERSONS]
    rows, speeches = [], cycle(voices)
    with tempfile.TemporaryDirectory() as folder:
        portrait = Path(folder) / "portrait.png"
        for clip in persons:
            if not protocol.write_portrait(clip, portrait):
                continue
            others = (other for other in speeches if other.person != clip.person)
            for other in islice(others, NUM_SPEECHES):
                rows.append(protocol.figures(portrait, inputs.clip_path(other), Path(folder)))
    return report_of("silent-sources", {"stills, other people's speech": rows}, persons=len(persons))
