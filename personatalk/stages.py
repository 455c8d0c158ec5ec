"""What the stages of a dub hand to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from personatalk.casting import Role
from personatalk.face_rendering.reference_bank import ReferenceBank
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import HeadVertices
from personatalk.geometry.mouth import lip_descriptors
from personatalk.geometry_construction.expression import MomentExpression
from personatalk.geometry_construction.speaker_calibration import Speaker, SpeakerCalibration
from personatalk.geometry_construction.style import Style
from personatalk.media.timeline import Timeline
from personatalk.occlusion.segmentation import Occlusion
from personatalk.options import DubbingOptions
from personatalk.speech.features import SpeechFeatures

SAMPLE_RATE = 16000


@dataclass(frozen=True, kw_only=True)
class DubbingResult:
    """What a dub gives back.

    Attributes:
        video: path of the dubbed video.
        num_frames: frames in it.
        num_passed_through: frames in which no usable face was seen, so that the source stands.
        fps: frames per second.
        timings: seconds spent in each stage.
        driven_aperture: [num_frames] IOD, the lip aperture that stage 1 drove; of several faces, that of the first.
        report: versions, options, timings and figures, ready for JSON.
    """

    video: Path
    num_frames: int
    num_passed_through: int
    fps: float
    timings: dict[str, float]
    driven_aperture: np.ndarray
    report: dict


@dataclass(frozen=True, kw_only=True)
class Speech:
    """The driving speech: waveform [S] at 16 kHz, and its features."""

    waveform: np.ndarray
    features: SpeechFeatures

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.waveform) / SAMPLE_RATE

    def between(self, start_s: float, end_s: float) -> Speech:
        """The same speech with the waveform of a stretch; its features stay whole."""
        start, end = (round(seconds * SAMPLE_RATE) for seconds in (start_s, end_s))
        return replace(self, waveform=self.waveform[start:end])


@dataclass(frozen=True, kw_only=True)
class SourceFace:
    """The face of a video.

    Attributes:
        video: path.
        geometry: of the face.
        occlusion: what stands in front of it; None where nobody looked.
        pts: [T] ticks of the frames.
        shots: what each shot shows of the person, see `Cast.shots_of`.
        persons: who else is seen, see `persons_report`.
    """

    video: Path
    geometry: FaceGeometry
    occlusion: Occlusion | None
    pts: np.ndarray
    shots: list[dict[str, Any]] = field(default_factory=list)
    persons: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Faces:
    """The faces that a dub looks at; one video may serve all three.

    Attributes:
        source: of the clip that is dubbed.
        style: gives the speaking style.
        reference: gives the references.
    """

    source: SourceFace
    style: SourceFace
    reference: SourceFace

    @property
    def is_same_clip(self) -> bool:
        """Whether the references are of the clip that is dubbed, so that near frames would show the true mouth."""
        return self.reference is self.source


def at_paths(faces: Sequence[Faces], video: Path, options: DubbingOptions) -> list[Faces]:
    """Faces that were read before, each of the video that now has its content; one that serves twice stays one."""
    moved: dict[int, SourceFace] = {}
    for each in faces:
        paths = ((each.style, options.style_video), (each.reference, options.reference_video), (each.source, video))
        for face, path in paths:  # the clip last: what is shared with it is the clip's
            moved[id(face)] = replace(face, video=Path(path)) if path else face
    return [
        Faces(source=moved[id(each.source)], reference=moved[id(each.reference)], style=moved[id(each.style)])
        for each in faces
    ]


@dataclass(frozen=True, kw_only=True)
class DrivenGeometry:
    """What stage 1 makes of a face.

    Attributes:
        posed: geometry of the frames to render: the source's pose, the driven expression, in the output's order.
        head_vertices: of the frames to render.
        timeline: which source frame stands where in the output.
        speaker: whose style it has, and what that rests on.
        moment: the expression of the moment of the source; None where it was not kept.
    """

    posed: FaceGeometry
    head_vertices: HeadVertices
    timeline: Timeline
    speaker: Speaker
    moment: MomentExpression | None = None

    @property
    def style(self) -> Style:
        """Of the speaker."""
        return self.speaker.style

    @property
    def calibration(self) -> SpeakerCalibration:
        """Of stage 1 to the speaker."""
        return self.speaker.calibration

    def target_descriptors(self) -> np.ndarray:
        """[M, D] lip descriptors of the frames to render that show the face."""
        posed = self.posed
        return lip_descriptors(self.head_vertices, posed.template, posed.rotation)[posed.valid]

    def part(self, kept: slice) -> DrivenGeometry:
        """The frames at some positions of the output; the timeline starts anew with them."""
        vertices, timeline = self.head_vertices.part(kept), self.timeline.part(kept)
        return replace(self, posed=self.posed.at(kept), head_vertices=vertices, timeline=timeline)


@dataclass(frozen=True, kw_only=True)
class FaceDub:
    """The dub of one face, before it is rendered.

    Attributes:
        role: what was asked for.
        speech: that drives it.
        faces: that it looks at.
        driven: geometry.
        bank: references.
    """

    role: Role
    speech: Speech
    faces: Faces
    driven: DrivenGeometry
    bank: ReferenceBank

    def part(self, kept: slice, stretch: tuple[float, float]) -> FaceDub:
        """The frames at some positions of the output, and the waveform of their time, (start, end) s."""
        return replace(self, driven=self.driven.part(kept), speech=self.speech.between(*stretch))
