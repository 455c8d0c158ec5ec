"""The order below is the order of the data. A module may import only what stands above it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ORDER = [
    "errors", "config", "progress", "concurrency", "checkpoints", "layers", "media", "tracking", "face_model",
    "fitting", "camera", "rasterizer", "geometry_maps", "references", "registration", "lip_registration",
    "appearance", "hands", "occlusion", "texture_prior", "estimation", "audio", "noises", "style", "closure",
    "voice", "geometry_model", "sync", "own_speech", "attention", "light", "renderer", "render_inputs",
    "number_format", "compositing", "detail", "clip_references", "dub_renderer", "timeline", "observer", "pipeline",
    "perceptual", "palette", "evaluation", "inspection", "training", "page", "cli_training", "cli", "__main__",
]  # fmt: skip
ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "personatalk"
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
        assert name.split(".")[0] != "gradio" or ORDER[own] == "page", "only app.py and the page know Gradio"
        if name.startswith("personatalk."):
            assert ORDER.index(name.split(".")[1]) <= own, f"{path.name} reaches down to {name}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= 300


def test_weights_fit_a_space():
    sizes = {path.name: path.stat().st_size for path in (ROOT / "checkpoints").iterdir()}
    assert all(size < 10_000_000 for size in sizes.values()), sizes
    assert sum(sizes.values()) < 60_000_000


def test_readme_names_files_that_exist():
    targets = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    assert targets
    for target in targets:
        assert target.startswith("https://") or (ROOT / target).exists(), f"README.md points to {target}"
