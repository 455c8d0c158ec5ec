"""What of a clip makes a dub of it likely poor: measured from its geometry while a run begins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from personatalk.face_rendering.clip_renderer import RenderedFrame
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mouth import lip_aperture
from personatalk.media.picture import Pixels
from personatalk.observer import Observer, Scene
from personatalk.webapp import strings

OPEN_SHARE = 0.95  # quantile of the lip aperture that counts as how far the mouth is seen open
LITTLE_OPEN_IOD = 0.05  # of it; the speakers of the examples reach .13 and more
TURNED_DEG = 30.0  # median turn away from the camera; a dub fades back to the source from 50 on
SMALL_PX = 60  # width of the face


@dataclass(frozen=True, kw_only=True)
class ClipFacts:
    """A clip's face as far as it matters for a dub.

    Attributes:
        open_iod: how far the mouth is seen open, IOD.
        turn_deg: median angle by which the head is turned away from the camera.
        face_px: median width of the face.
    """

    open_iod: float
    turn_deg: float
    face_px: float

    @classmethod
    def of(cls, source: FaceGeometry, reference: FaceGeometry, face_model: FaceModel) -> ClipFacts:
        """Measure the source's pose, and the mouths of the video that gives references."""
        seen = reference.at(np.flatnonzero(reference.valid))
        aperture = lip_aperture(face_model.vertices(seen.template, seen.expression))
        forward = source.rotation[source.valid][:, 2, 2]  # cosine of the angle between the face's and the camera's axis
        width = np.ptp(source.template[:, 0]) * np.median(source.scale[source.valid])
        return cls(
            open_iod=float(np.quantile(aperture, OPEN_SHARE)),
            turn_deg=float(np.degrees(np.arccos(np.clip(np.median(forward), -1, 1)))),
            face_px=float(width),
        )

    def warnings(self) -> list[str]:
        """What is likely poor, each with what would help."""
        found = []
        if self.open_iod < LITTLE_OPEN_IOD:
            found.append(strings.WARN_SHUT)
        if self.turn_deg > TURNED_DEG:
            found.append(strings.WARN_TURNED.format(degrees=self.turn_deg))
        if self.face_px < SMALL_PX:
            found.append(strings.WARN_SMALL.format(pixels=self.face_px))
        return found


class ClipJudge:
    """Looks on at a run's beginning, together with another observer if there is one.

    Attributes:
        facts: of the clip, once the run has begun.
        posed: geometry of the person that is dubbed, in the frames of the dub; likewise.
    """

    def __init__(self, other: Observer | None = None) -> None:
        self._other = other
        self.facts: ClipFacts | None = None
        self.posed: FaceGeometry | None = None

    def begin(self, scene: Scene) -> None:
        """Measure the clip."""
        self.facts = ClipFacts.of(scene.source, scene.bank.geometry, scene.mesh.face_model)
        self.posed = scene.posed
        if self._other:
            self._other.begin(scene)

    def frame(self, position: int, image: Pixels, rendered: RenderedFrame) -> None:
        """Pass a frame on."""
        if self._other:
            self._other.frame(position, image, rendered)

    def finish(self, report: dict) -> None:
        """Pass the report on."""
        if self._other:
            self._other.finish(report)
