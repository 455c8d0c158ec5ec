"""The order below is the order of the data. A module may import only what stands above it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOMS = {
    "errors": [], "options": [], "devices": [], "kept_work": [], "memory": [], "progress": [], "concurrency": [],
    "checkpoints": [], "opencv": [], "kernels": [], "unet": [],
    "media": ["sameness", "targets", "colour", "picture", "hdr", "container", "decode", "sound", "extras", "stream",
              "encode", "excerpt", "still", "timeline", "shots"],
    "geometry": ["mediapipe_graphs", "tracking", "face_geometry", "face_model", "sparse_landmarks",
                 "face_alignment_tracker", "mouth", "landmark_fitting", "camera", "rasterizer",
                 "pytorch3d_rasterizer", "mesh", "face_refinement", "lip_refinement",
                 "photometric_refinement", "estimation"],
    "persons": ["embedding", "lost_face", "faces", "identity", "search"],
    "occlusion": ["appearance", "hands", "network", "segmentation", "search"],
    "speech": ["config", "features", "encoders", "noises", "augmentation", "voice_activity", "sync_network", "syncnet",
               "phonemes"],
    "geometry_construction": ["config", "layers", "style", "lip_closure", "amplitude", "model", "expression",
                              "style_evidence", "own_speech", "speaker_calibration"],
    "face_rendering": ["config", "attention", "reference_selection", "texture_prior", "colour_transfer", "renderer",
                       "mouth_interior", "inputs", "precision", "compositing", "detail", "filling", "reference_bank",
                       "clip_renderer"],
    "casting": [], "stages": [], "observer": [], "report": [], "pipeline": [], "worker": [],
    "metrics": ["perceptual", "identity", "image", "attention", "geometry", "statistics"],
    "inspection": None, "training": None, "evaluation": None,
    "webapp": ["strings", "languages", "theme", "gpu", "limits", "sessions", "streams", "run_queue", "time_estimate",
               "clip_judgement", "run_summary", "sync_judge", "face_choice", "preview", "analysis",
               "known_faces", "persons_list", "looking", "jobs", "service", "text_to_speech", "examples", "messages",
               "face_panel", "text_box", "input_form", "files", "time_bar",
               "charts", "panels", "result_view", "run_controls", "example_buttons", "panel_geometry", "panel_style",
               "panel_references", "panel_attention", "panel_figures", "workspace", "endpoints", "layout"],
    "cli": None, "__main__": [],
}  # fmt: skip
ORDER = list(ROOMS)
ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "personatalk"
CALLED_BY_GRADIO = {
    "endpoint",
    "dub_faces",
    "analyze",
}  # Gradio passes the values of an endpoint's components by position
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py" or path.parent != PACKAGE]


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imported_names(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_one_way(path):
    own = ORDER.index(path.relative_to(PACKAGE).with_suffix("").parts[0])
    for name in imported_names(path):
        assert name.split(".")[0] != "gradio" or ORDER[own] == "webapp", "only app.py and the page know Gradio"
        if name.startswith("personatalk."):
            assert ORDER.index(name.split(".")[1]) <= own, f"{path.name} reaches down to {name}"


@pytest.mark.parametrize("room", [room for room, modules in ROOMS.items() if modules])
def test_imports_point_one_way_within_a_room(room):
    order = ROOMS[room]
    found = {path.stem for path in (PACKAGE / room).glob("*.py")} - {"__init__"}
    assert found == set(order), "the order names every module of the room"
    for path in (PACKAGE / room).glob("*.py"):
        for name in imported_names(path):
            parts = name.split(".")
            if path.stem != "__init__" and parts[:2] == ["personatalk", room] and parts[2] in order:
                assert order.index(parts[2]) < order.index(path.stem), f"{path.name} reaches down to {name}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_functions_stay_short(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno - node.lineno < 70, f"{path.name}: {node.name} is too long"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_arguments_are_few_or_named(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and not is_compiled(node):
            if node.name == "forward" or node.name in CALLED_BY_GRADIO:
                continue
            positional = [
                arg.arg for arg in (*node.args.posonlyargs, *node.args.args) if arg.arg not in ("self", "cls")
            ]
            assert len(positional) <= 5, f"{path.name}: {node.name} takes {len(positional)} positional arguments"


def is_compiled(node: ast.FunctionDef) -> bool:
    """Numba's functions know no keyword-only arguments."""
    return any(ast.unparse(decorator).startswith(("numba", "kernel")) for decorator in node.decorator_list)


def test_weights_fit_a_space():
    sizes = {path.name: path.stat().st_size for path in (ROOT / "checkpoints").iterdir()}
    assert all(size < 10_000_000 for size in sizes.values()), sizes
    assert sum(sizes.values()) < 60_000_000
