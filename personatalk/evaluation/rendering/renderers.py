"""Which renderers are judged: the one that ships, whole and with parts taken away, and those that a user names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from personatalk.checkpoints import load_config, load_into
from personatalk.errors import MediaError
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.rendering.baselines import baselines, pick_nearest, warping_method
from personatalk.evaluation.rendering.page import OURS
from personatalk.evaluation.rendering.protocol import evaluate_rendering
from personatalk.evaluation.rendering.repainting import renderer_method
from personatalk.evaluation.rendering.windows import Method, TargetGeometry, WindowClip
from personatalk.evaluation.speech.clips import load_geometry_model
from personatalk.face_rendering.config import RendererConfig
from personatalk.face_rendering.inputs import device_of
from personatalk.face_rendering.renderer import DualAttentionRenderer
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry_construction.model import predict_expression
from personatalk.geometry_construction.style import style_of
from personatalk.media import read_audio
from personatalk.options import REFERENCE_STRATEGIES
from personatalk.speech.encoders import load_speech_encoder

# what is taken away from weights that were trained with it
ABLATIONS = {
    "without decoder": {"has_decoder": False},
    "without offsets": {"max_offset_px": 0.0},
    "without colour transfer": {"has_colour_transfer": False},
}


def evaluate_renderers(inputs: EvaluationInputs) -> dict:
    """Judge the renderer that ships, in several circumstances, and those that `inputs` names."""
    face_model = inputs.load_face_model()
    return evaluate_rendering(inputs, renderer_rows(inputs, face_model))


def renderer_rows(inputs: EvaluationInputs, face_model: FaceModel) -> dict[str, Method]:
    """All rows but the baselines, by name; rows of the same inputs stand together, so that these are made once.

    Raises:
        MediaError: a renderer that `inputs` names has the name of another row.
    """
    mesh, ours = FaceMesh(face_model), load_renderer(inputs.checkpoints, inputs.device)
    rows = {OURS: renderer_method(ours, mesh)}
    for name, changes in ABLATIONS.items():
        rows[f"{OURS}, {name}"] = renderer_method(without(ours, **changes), mesh)
    for name, path in inputs.renderers.items():
        if name in rows or name in baselines(mesh):
            raise MediaError(f"--renderer {name}: another row has this name; choose another")
        rows[name] = renderer_method(load_renderer(path, inputs.device), mesh)
    rows[f"{OURS}, without texture prior"] = renderer_method(ours, mesh, has_texture_prior=False)
    rows[f"{OURS}, without lip references of its own"] = renderer_method(ours, mesh, has_lip_references=False)
    for strategy in REFERENCE_STRATEGIES[1:]:
        rows[f"{OURS}, {strategy} references"] = renderer_method(ours, mesh, strategy=strategy)
    heard = own_speech(inputs, face_model)
    rows["nearest frame, warped, stage 1's geometry"] = warping_method(mesh, pick_nearest, heard)
    rows[f"{OURS}, stage 1's geometry"] = renderer_method(ours, mesh, target_geometry=heard)
    return rows


def without(model: DualAttentionRenderer, **changes: object) -> DualAttentionRenderer:
    """Take parts away from a renderer; the weights that are left stay as they are, and its encoder is shared.

    Args:
        model: whole.
        changes: fields of its configuration.
    """
    bare = DualAttentionRenderer(replace(model.config, **changes)).eval().to(device_of(model))
    kept = bare.state_dict().keys()
    bare.load_state_dict({name: value for name, value in model.state_dict().items() if name in kept})
    bare.encode = model.encode
    return bare


def load_renderer(path: Path, device: torch.device | str = "cpu") -> DualAttentionRenderer:
    """Load stage 2.

    Args:
        path: a folder that holds renderer.safetensors, or a file of weights; beside it lies its configuration, of the
            same name or renderer.json.
        device: where it is to compute.

    Raises:
        CheckpointError: weights or configuration are missing or do not fit.
    """
    weights = path / "renderer.safetensors" if path.is_dir() else path
    config = weights.with_suffix(".json")
    model = DualAttentionRenderer(
        load_config(RendererConfig, config if config.is_file() else weights.with_name("renderer.json"))
    )
    load_into(model, weights)
    return model.eval().to(device)


def own_speech(inputs: EvaluationInputs, face_model: FaceModel) -> TargetGeometry:
    """What stage 1 asks of the mouth when it hears the clip's own speech."""
    model, encoder = load_geometry_model(inputs.checkpoints), load_speech_encoder(inputs.checkpoints)

    def target_geometry(clip: WindowClip) -> np.ndarray | None:
        """Shape the mouths of a clip, [T, V, 3] IOD; None where it has no sound."""
        source, geometry = clip.source, clip.geometry
        if source is None or not source.has_sound:
            return None
        style = style_of(geometry.expression, geometry.valid, geometry.template, face_model)
        times = torch.from_numpy(geometry.times - geometry.times[0] - source.offset_s)
        speech = predict_expression(model, encoder.encode(read_audio(inputs.clip_path(source))), times, style).numpy()
        expression = np.concatenate([speech, geometry.expression[:, speech.shape[1] :]], 1)
        return face_model.vertices(geometry.template, expression)

    return target_geometry
