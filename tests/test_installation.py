"""An installed copy finds its weights and examples from any folder, and says where they belong if they are gone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOAD_FACE_MODEL = """
import personatalk
from personatalk import DubbingOptions
from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.geometry.face_model import FaceModel

FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")
print(personatalk.__file__)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder that `pip install .` would fill, built without copying it into an environment."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("installed")
    (source := folder / "source").mkdir()
    for name in ("checkpoints", "assets"):
        (source / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "personatalk", source / "personatalk", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "setup.py", "-q", "build", "--build-lib", str(folder / "library")]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    shutil.rmtree(source)
    return folder / "library"


def run_installed(library: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(library)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=library.parent, env=environment, capture_output=True, text=True
    )


def test_every_weight_and_example_is_installed(installed):
    media = [("assets", pattern) for pattern in ("*.mp4", "*.wav", "*.jpg", "README.md")]
    for name, pattern in (("checkpoints", "*"), *media):
        shipped = {path.name: path.stat().st_size for path in (ROOT / name).glob(pattern)}
        found = {path.name: path.stat().st_size for path in (installed / "personatalk/shipped" / name).glob(pattern)}
        assert shipped and found == shipped


def test_every_module_is_installed(installed):
    modules = {path.relative_to(ROOT) for path in (ROOT / "personatalk").rglob("*.py")}
    assert {path.relative_to(installed) for path in installed.rglob("*.py")} >= modules


def test_style_sheet_and_scripts_of_the_page_are_installed(installed):
    for folder in (Path("personatalk/webapp/static"), Path("personatalk/webapp/translations")):
        names = {path.name for path in (ROOT / folder).iterdir()}
        assert names and {path.name for path in (installed / folder).iterdir()} == names


def test_weights_are_found_from_another_folder(installed):
    ended = run_installed(installed, "-c", LOAD_FACE_MODEL)
    assert ended.stdout.strip() == str(installed / "personatalk/__init__.py"), ended.stderr


def test_missing_weights_are_named_with_where_they_belong(tmp_path):
    clip, speech = ROOT / "assets/grid_speaker.mp4", ROOT / "assets/speech_bridge.wav"
    options = ["-o", tmp_path / "out.mp4", "--checkpoints", tmp_path]
    ended = subprocess.run(
        [sys.executable, "-m", "personatalk", "dub", clip, speech, *options],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1
    assert str(tmp_path) in ended.stderr and "the repository's folder checkpoints/ there" in ended.stderr
