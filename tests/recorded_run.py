"""A run of known geometry with a tiny network, for tests of what is recorded and shown of a run."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.evaluation.geometry.known_faces import known_face
from personatalk.face_rendering.clip_renderer import ClipRenderer, RenderedFrame
from personatalk.face_rendering.config import RendererConfig
from personatalk.face_rendering.reference_bank import ReferenceBank
from personatalk.face_rendering.reference_selection import choose_candidates
from personatalk.face_rendering.renderer import DualAttentionRenderer
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import lip_descriptors
from personatalk.geometry_construction.style import style_of
from personatalk.inspection.recorder import Recorder
from personatalk.media import Frame
from personatalk.observer import Scene

NUM_FRAMES, MAX_KEPT = 60, 20
REPORT = {
    "timings_s": {"track": 2.0, "render": 6.0},
    "peak_memory_mb": {"track": 500, "render": 700},
    "num_frames": NUM_FRAMES,
    "fps": 25.0,
}


def record_run(folder: Path) -> dict[int, RenderedFrame]:
    """Render the run and record it; returns what was rendered at each position."""
    mesh = FaceMesh(FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors"))
    track = known_face(mesh.face_model, noise_iod=0, seed=4).track
    source = fit_track(track, mesh.face_model)
    source = type(source)(**{k: v if k == "template" else v[:NUM_FRAMES] for k, v in vars(source).items()})
    blocks = np.random.default_rng(0).integers(0, 255, (NUM_FRAMES, 30, 30, 3)).astype(np.uint8)
    pictures = blocks.repeat(10, 1).repeat(10, 2)
    posed = type(source)(**vars(source) | {"expression": source.expression[::-1].copy()})
    torch.manual_seed(0)
    config = RendererConfig(dim=8, widths=(8, 8, 8), num_lip_references=3, num_face_references=2, max_offset_px=2.0)
    model = DualAttentionRenderer(config).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    vertices = mesh.face_model.vertices(posed.template, posed.expression)
    demanded = lip_descriptors(vertices, posed.template, posed.rotation)
    references = ReferenceBank(mesh, source, choose_candidates(source, mesh, demanded))
    frames = (
        Frame(index=i, time=i / 25, pixels=image, pts=i, time_base=Fraction(1, 25)) for i, image in enumerate(pictures)
    )
    references.gather(frames, model)
    own = mesh.face_model.vertices(source.template, source.expression)
    clip = ClipRenderer(model, mesh, posed, vertices, references, source_vertices=own)
    tone = 0.3 * np.sin(np.arange(16000 * NUM_FRAMES // 25) / 5).astype(np.float32)
    tone[: len(tone) // 3] = 0
    recorder = Recorder(folder, MAX_KEPT)
    recorder.begin(
        Scene(
            mesh=mesh, source=source, posed=posed, order=np.arange(NUM_FRAMES), bank=references, waveform=tone,
            style=style_of(source.expression, source.valid, source.template, mesh.face_model),
            video=folder / "clip.mp4", reference_video=folder / "clip.mp4",
        )
    )  # fmt: skip
    seen = {}
    for t in range(NUM_FRAMES):
        rendered = clip.render(t, pictures[t])
        recorder.frame(t, pictures[t], rendered)
        seen[t] = rendered
    recorder.finish(REPORT)
    return seen
