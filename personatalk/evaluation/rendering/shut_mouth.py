"""Mouths that open though no reference does: references restricted to shut mouths, open mouths asked for.

The true geometry of a clip is rendered through a dub's own compositing, once with all of the clip's frames as
references and once with those alone whose mouths are least open. What differs is what the renderer has to make up.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, replace

import cv2
import numpy as np

from personatalk import metrics
from personatalk.concurrency import map_in_order, num_workers
from personatalk.errors import NoFaceError
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.rendering.judging import Judges, RunTruth
from personatalk.evaluation.rendering.renderers import load_renderer
from personatalk.evaluation.rendering.windows import MethodOutput, WindowClip, read_windows
from personatalk.evaluation.report import report_of
from personatalk.face_rendering.clip_renderer import ClipRenderer
from personatalk.face_rendering.mouth_interior import MouthInterior, load_mouth_interior
from personatalk.face_rendering.reference_bank import ReferenceBank
from personatalk.face_rendering.reference_selection import choose_candidates
from personatalk.face_rendering.renderer import DualAttentionRenderer
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH, warp_image
from personatalk.geometry.face_model import INNER_LIPS, FaceModel
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import lip_aperture, lip_descriptors
from personatalk.geometry.tracking import MediaPipeTracker, track_face
from personatalk.media import read_frames
from personatalk.training.corpus import Clip, spread_over_persons

MIN_SECONDS = 2.0
SHUT_QUANTILE, OPEN_QUANTILE = 0.2, 0.7  # of lip aperture: references are below, judged frames above
MIN_OPEN_IOD = 0.04  # lip aperture of the judged frames; a clip that never opens so far says nothing
MAX_JUDGED = 16  # frames a clip
BRIGHT = 0.75  # of the luma of the skin around it: teeth
TEETH_SHARE = 0.1  # of the inner mouth that is bright where teeth show
ALL, ALL_UNPAINTED = "all references", "all references, nothing painted"
SHUT, UNPAINTED = "shut references", "shut references, nothing painted"


@dataclass(frozen=True, kw_only=True)
class ShutMouthProtocol:
    """What the evaluation runs on every clip.

    Attributes:
        inputs: where the clips are.
        face_model: to measure the faces with.
        mesh: of it.
        judges: the networks that judge.
        renderer: stage 2.
        interior: of stage 2.
    """

    inputs: EvaluationInputs
    face_model: FaceModel
    mesh: FaceMesh
    judges: Judges
    renderer: DualAttentionRenderer
    interior: MouthInterior

    def judge(self, source: Clip) -> dict[str, dict[str, float]]:
        """Judge a clip: row to figures; empty where it cannot be judged."""
        clip = read_windows(self.inputs, source, self.mesh)
        if clip is None:
            return {}
        count = len(clip.images)
        frames = [f.image for f, _ in zip(read_frames(self.inputs.clip_path(source)), range(count), strict=False)]
        run = open_run(clip, MAX_JUDGED)
        if run is None:
            return {}
        valid, shut = clip.geometry.valid, shut_frames(clip)
        truth = RunTruth(clip, run, self.mesh, self.judges)
        rows = {}
        for name, usable, interior in (
            (ALL, valid, self.interior),
            (ALL_UNPAINTED, valid, None),
            (SHUT, shut, self.interior),
            (UNPAINTED, shut, None),
        ):
            dub = self.dub(source, clip, usable, interior)
            rendered = [dub.render(t, image).image for t, image in enumerate(frames)]
            rows[name] = self.figures(truth, rendered, lip_aperture(clip.head_vertices))
        return rows

    def dub(self, source: Clip, clip: WindowClip, usable: np.ndarray, interior: MouthInterior | None) -> ClipRenderer:
        """Make what renders a clip with its own geometry; usable [T] says which references it has."""
        geometry = clip.geometry
        targets = lip_descriptors(clip.head_vertices, geometry.template, geometry.rotation)[geometry.valid]
        restricted = replace(geometry, valid=usable)
        bank = ReferenceBank(self.mesh, restricted, choose_candidates(restricted, self.mesh, targets))
        bank.gather(read_frames(self.inputs.clip_path(source), only=bank.candidates.frames), self.renderer)
        return ClipRenderer(
            self.renderer,
            self.mesh,
            geometry,
            clip.head_vertices,
            bank,
            source_vertices=clip.head_vertices,
            interior=interior,
        )

    def figures(self, truth: RunTruth, rendered: list[np.ndarray], asked: np.ndarray) -> dict[str, float]:
        """Judge finished frames [H, W, 3] of a whole clip, whose lip aperture [T] IOD was asked for."""
        clip, run = truth.clip, truth.run
        windows = np.stack([warp_image(rendered[t], clip.window[t], WINDOW_WIDTH, WINDOW_HEIGHT) for t in run])
        judged = truth.figures(MethodOutput(images=windows))
        kept = {name: judged[name] for name in ("psnr_lips", "lpips_lips", "sharpness_lips", "identity")}
        inner = np.stack([inner_mouth(points) for points in clip.projected[run]])
        skin = truth.lower & ~truth.lips
        true_teeth, teeth = (teeth_shares(images, inner, skin) for images in (truth.images, windows))
        shown = teeth[true_teeth >= TEETH_SHARE] >= TEETH_SHARE / 2
        energies = [laplacian_energy(images, inner) for images in (windows, truth.images)]
        kept["sharpness_inner_mouth"] = energies[0] / max(energies[1], 1e-9)
        kept["psnr_inner_mouth"] = metrics.psnr(windows, truth.images, inner)
        if len(shown):
            kept["teeth_where_true"] = float(shown.mean())
        return kept | self.seen_figures(rendered, clip, asked, run)

    def seen_figures(
        self, rendered: list[np.ndarray], clip: WindowClip, asked: np.ndarray, run: np.ndarray
    ) -> dict[str, float]:
        """Track finished frames: lip aperture seen over asked in the judged frames [N], and over all of them."""
        height, width = rendered[0].shape[:2]
        with MediaPipeTracker() as tracker:
            frames = zip(clip.geometry.times.tolist(), rendered, strict=False)
            track = track_face(frames, tracker, width=width, height=height)
        try:
            geometry = fit_track(track, self.face_model)
        except NoFaceError:
            return {}
        seen = lip_aperture(self.face_model.vertices(geometry.template, geometry.expression))
        both = geometry.valid & clip.geometry.valid[: len(seen)]
        judged = run[both[run]]
        return {
            "aperture_r": metrics.correlation(seen[both], asked[: len(seen)][both]),
            "deviation_ratio": metrics.deviation_ratio(seen[both], asked[: len(seen)][both]),
            "aperture_seen_over_asked": float(seen[judged].mean() / asked[judged].mean()),
        }


def load_protocol(inputs: EvaluationInputs) -> ShutMouthProtocol:
    """Load what the evaluation runs on every clip."""
    face_model = inputs.load_face_model()
    return ShutMouthProtocol(
        inputs=inputs,
        face_model=face_model,
        mesh=FaceMesh(face_model),
        judges=Judges.load(inputs.checkpoints),
        renderer=load_renderer(inputs.checkpoints),
        interior=load_mouth_interior(inputs.checkpoints),
    )


def open_run(clip: WindowClip, count: int) -> np.ndarray | None:
    """[N] frames with an open mouth, spread over the clip, at most `count`; None where there are not two."""
    aperture, valid = lip_aperture(clip.head_vertices), clip.geometry.valid
    if not valid.any():
        return None
    least = max(np.quantile(aperture[valid], OPEN_QUANTILE), MIN_OPEN_IOD)
    opened = np.flatnonzero(valid & (aperture >= least))
    return opened[np.unique(np.linspace(0, len(opened) - 1, count).astype(int))] if len(opened) > 1 else None


def shut_frames(clip: WindowClip) -> np.ndarray:
    """[T] bool, the frames whose mouths are least open."""
    aperture, valid = lip_aperture(clip.head_vertices), clip.geometry.valid
    return valid & (aperture <= np.quantile(aperture[valid], SHUT_QUANTILE))


def evaluate_shut_mouth(inputs: EvaluationInputs) -> dict:
    """Judge open mouths rendered from all references, and from shut ones, with and without a painted interior.

    Returns:
        what `report_of` gives, a row a choice of references.
    """
    protocol = load_protocol(inputs)
    clips = [clip for clip in inputs.read_clips() if clip.is_long_enough(MIN_SECONDS)]
    with closing(map_in_order(protocol.judge, spread_over_persons(clips, inputs.limit), num_workers())) as results:
        judged = [rows for rows in results if rows]
    rows = {name: [found[name] for found in judged] for name in (ALL, ALL_UNPAINTED, SHUT, UNPAINTED)}
    ratios = {name: lpips_ratio(judged, name) for name in (SHUT, UNPAINTED)}
    return report_of("shut-mouth", rows, clips=len(judged), lpips_over_all_references=ratios)


def lpips_ratio(judged: list[dict[str, dict[str, float]]], name: str) -> float:
    """Mean LPIPS of the lips of a row over that with all references."""
    return float(np.mean([r[name]["lpips_lips"] for r in judged]) / np.mean([r[ALL]["lpips_lips"] for r in judged]))


def inner_mouth(projected: np.ndarray) -> np.ndarray:
    """[H, W] bool: the gap between the lips of projected vertices [N, 3] px of the window."""
    mask = np.zeros((WINDOW_HEIGHT, WINDOW_WIDTH), np.uint8)
    cv2.fillPoly(mask, [np.round(projected[list(INNER_LIPS), :2]).astype(np.int32)], 1)
    return mask > 0


def teeth_shares(images: np.ndarray, inner: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """[N] share of the inner mouth [N, H, W] that is as bright as teeth are beside the skin [N, H, W]."""
    shares = []
    for image, mouth, around in zip(images, inner, skin, strict=True):
        luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        shares.append((luma[mouth] > BRIGHT * np.median(luma[around])).mean() if mouth.any() else 0.0)
    return np.array(shares)


def laplacian_energy(images: np.ndarray, regions: Iterable[np.ndarray]) -> float:
    """Variance of the Laplacian of the luma over regions [H, W] of images [N, H, W, 3] together."""
    values = [
        cv2.Laplacian(cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2GRAY), cv2.CV_32F)[region]
        for image, region in zip(images, regions, strict=True)
    ]
    return float(np.concatenate(values).var())
