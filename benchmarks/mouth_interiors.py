"""Ways to fill an open mouth that no reference shows: painted by the network, lent by another person, or true.

python -m benchmarks.mouth_interiors CLIPS CORPUS --manifest TABLE --donors TABLE [--limit 12] [--checkpoints FOLDER]

Both tables are manifests (docs/training.md) whose clips `preprocess` has put into CORPUS. As in `evaluate shut-mouth`,
references are restricted to shut mouths and open ones are judged. A donor lends the inside of the mouth alone, through
the mesh, at the brightness of the face; of all donors it is the one whose mouths fit the clip's best. The true inside
says what is lost elsewhere.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.distance import cdist

from benchmarks.samples import CHECKPOINTS
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.rendering.judging import RunTruth
from personatalk.evaluation.rendering.shut_mouth import (
    ShutMouthProtocol,
    inner_mouth,
    laplacian_energy,
    load_protocol,
    open_run,
    shut_frames,
)
from personatalk.evaluation.rendering.windows import MethodOutput, WindowClip, read_windows
from personatalk.face_rendering.mouth_interior import MARGIN_PX, gap_profile
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH, warp_image
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import lip_aperture
from personatalk.geometry.rasterizer import interpolate, rasterize
from personatalk.media import read_frames
from personatalk.training.corpus import Clip, read_manifest, spread_over_persons

NUM_JUDGED = 8  # frames a clip
OPEN_IOD = 0.05  # lip aperture of a donor's frames
TURN_IOD = 0.1  # that a head turned otherwise (Frobenius norm of the rotations' difference) is worth
RING_PX = 2, 12  # of the window, from the gap to the skin whose brightness is compared
ROWS = ("all references", "painted", "nothing painted", "a donor's", "the true one")


@dataclass(frozen=True, kw_only=True)
class DonorMouth:
    """A frame with an open mouth: window [H, W, 3], vertices in it [N, 3] px, gaps [11] IOD, rotation [3, 3]."""

    image: np.ndarray
    projected: np.ndarray
    gaps: np.ndarray
    rotation: np.ndarray


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Ways to fill an open mouth that no reference shows.")
    parser.add_argument("clips", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--donors", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=12)
    parser.add_argument("--checkpoints", type=Path, default=CHECKPOINTS)
    args = parser.parse_args(arguments)
    inputs = EvaluationInputs(data=args.clips, manifest=args.manifest, corpus=args.corpus, checkpoints=args.checkpoints)
    protocol = load_protocol(inputs)
    donors = read_donors(inputs, read_manifest(args.donors, "train"), protocol.mesh)
    clips = [clip for clip in inputs.read_clips() if clip.is_long_enough(2.0)]
    judged = [figures for clip in spread_over_persons(clips, args.limit) if (figures := judge(protocol, clip, donors))]
    print(f"{len(judged)} clips; LPIPS and PSNR of the lips, sharpness of the inner mouth over the truth's")
    for row in ROWS:
        means = np.mean([figures[row] for figures in judged], 0)
        print(f"{row:16s}  {means[0]:.4f}  {means[1]:.1f} dB  {means[2]:.2f}")
    return 0


def read_donors(inputs: EvaluationInputs, clips: list[Clip], mesh: FaceMesh) -> dict[str, list[DonorMouth]]:
    """The open mouths of some clips, by person."""
    donors = defaultdict(list)
    for source in clips:
        clip = read_windows(inputs, source, mesh)
        if clip is None:
            continue
        for frame in np.flatnonzero(clip.geometry.valid & (lip_aperture(clip.head_vertices) > OPEN_IOD)):
            mouth = DonorMouth(
                image=clip.images[frame],
                projected=clip.projected[frame],
                gaps=gap_profile(clip.head_vertices[frame]),
                rotation=clip.geometry.rotation[frame],
            )
            donors[source.person].append(mouth)
    return donors


def judge(
    protocol: ShutMouthProtocol, source: Clip, donors: dict[str, list[DonorMouth]]
) -> dict[str, tuple[float, float, float]]:
    """LPIPS, PSNR and sharpness of each row for a clip; empty where it cannot be judged."""
    clip = read_windows(protocol.inputs, source, protocol.mesh)
    run = open_run(clip, NUM_JUDGED) if clip else None
    if clip is None or run is None:
        return {}
    pictures = read_frames(protocol.inputs.clip_path(source))
    frames = [frame.image for frame, _ in zip(pictures, range(len(clip.images)), strict=False)]
    truth, shut = RunTruth(clip, run, protocol.mesh, protocol.judges), shut_frames(clip)
    inner = np.stack([inner_mouth(points) for points in clip.projected[run]])
    windows, shares = {}, []
    for row, usable, interior in zip(
        ROWS[:3], (clip.geometry.valid, shut, shut), (protocol.interior, protocol.interior, None), strict=True
    ):
        dub = protocol.dub(source, clip, usable, interior)
        rendered = [dub.render(int(t), frames[t]) for t in run]
        pairs = zip(rendered, clip.window[run], strict=True)
        windows[row] = np.stack([warp_image(r.image, window, WINDOW_WIDTH, WINDOW_HEIGHT) for r, window in pairs])
        if row == "painted":
            shares = [r.rendering.interior_share for r in rendered if r.rendering]
    lent = lend_mouths(clip, run, donors, protocol.mesh)
    windows["a donor's"] = np.stack(
        [
            image if share is None else image + share[0, 0, ..., None].numpy() * (mouth - image)
            for image, mouth, share in zip(windows["nothing painted"].astype(np.float32), lent, shares, strict=True)
        ]
    )
    reach = np.ones((2 * MARGIN_PX + 1,) * 2, np.uint8)
    around = np.stack([cv2.dilate(mask.astype(np.uint8), reach) > 0 for mask in inner])
    windows["the true one"] = np.where(around[..., None], truth.images, windows["painted"])
    true_energy = laplacian_energy(truth.images, inner)
    judged = {row: truth.figures(MethodOutput(images=images)) for row, images in windows.items()}
    energies = {row: laplacian_energy(images, inner) / true_energy for row, images in windows.items()}
    return {row: (judged[row]["lpips_lips"], judged[row]["psnr_lips"], energies[row]) for row in ROWS}


def lend_mouths(
    clip: WindowClip, run: np.ndarray, donors: dict[str, list[DonorMouth]], mesh: FaceMesh
) -> list[np.ndarray]:
    """The windows [H, W, 3] of the donor that fits a run of a clip best, seen through the clip's mesh."""
    gaps = np.stack([gap_profile(vertices) for vertices in clip.head_vertices[run]])
    turns = clip.geometry.rotation[run].reshape(len(run), 9)
    chosen: list[DonorMouth] = []
    least = np.inf
    for person, mouths in donors.items():
        if clip.source is not None and person == clip.source.person:
            continue
        shape = cdist(gaps, np.stack([mouth.gaps for mouth in mouths])) / np.sqrt(gaps.shape[1])
        turned = cdist(turns, np.stack([mouth.rotation.ravel() for mouth in mouths]))
        distance = shape + TURN_IOD * turned
        if distance.min(1).mean() < least:
            least, chosen = distance.min(1).mean(), [mouths[i] for i in distance.argmin(1)]
    return [lend(clip, int(frame), mouth, mesh) for frame, mouth in zip(run, chosen, strict=True)]


def lend(clip: WindowClip, frame: int, donor: DonorMouth, mesh: FaceMesh) -> np.ndarray:
    """A donor's window seen through the mesh of a frame, as bright as the frame around the mouth: [H, W, 3]."""
    projected = clip.projected[frame]
    index, barycentric = rasterize(projected, mesh.triangles, WINDOW_HEIGHT, WINDOW_WIDTH)
    places = np.ascontiguousarray(donor.projected[:, :2])
    x, y = interpolate(index, barycentric, mesh.triangles, places) - np.float32(0.5)
    lent = cv2.remap(donor.image, x, y, cv2.INTER_LINEAR).astype(np.float32)
    gain = skin_luma(clip.images[frame], projected) / skin_luma(donor.image, donor.projected)
    return np.clip(lent * gain, 0, 255)


def skin_luma(image: np.ndarray, projected: np.ndarray) -> float:
    """Mean luma of the skin around the mouth of a window."""
    gap = inner_mouth(projected).astype(np.uint8)
    near, far = (cv2.dilate(gap, np.ones((2 * reach + 1,) * 2, np.uint8)) for reach in RING_PX)
    return float(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[far > near].mean())


if __name__ == "__main__":
    sys.exit(main())
