"""What a run shows to somebody who looks on, frame after frame, without being changed by it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from personatalk.face_rendering.clip_renderer import RenderedFrame
from personatalk.face_rendering.reference_bank import ReferenceBank
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry_construction.style import Style
from personatalk.media.picture import Pixels
from personatalk.stages import FaceDub


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything that is known before the first frame is rendered.

    Attributes:
        mesh: the face mesh.
        source: geometry of the source video.
        posed: geometry of the T frames to render, its expression driven by the speech.
        style: of the speaker.
        order: [T] source frame of each frame to render.
        bank: gathered references.
        waveform: [S] at 16 kHz.
        video: the source.
        reference_video: what the references were taken from.
    """

    mesh: FaceMesh
    source: FaceGeometry
    posed: FaceGeometry
    style: Style
    order: np.ndarray
    bank: ReferenceBank
    waveform: np.ndarray
    video: Path
    reference_video: Path


class Observer(Protocol):
    """Somebody who looks on; told of the scene, then of each frame, then of the end."""

    def begin(self, scene: Scene) -> None:
        """See the scene before its first frame."""

    def frame(self, position: int, image: Pixels, rendered: RenderedFrame) -> None:
        """See a frame: its position, the source's picture [H, W, 3] uint8, and what was made of it."""

    def finish(self, report: dict) -> None:
        """See the report of a run that went well."""


def scene_of(mesh: FaceMesh, dub: FaceDub) -> Scene:
    """Put together what an observer is shown before the first frame."""
    faces, driven = dub.faces, dub.driven
    return Scene(
        mesh=mesh,
        source=faces.source.geometry,
        posed=driven.posed,
        style=driven.style,
        order=driven.timeline.order,
        bank=dub.bank,
        waveform=dub.speech.waveform,
        video=faces.source.video,
        reference_video=faces.reference.video,
    )
