"""A machine without the libraries that OpenCV needs is told in one sentence what to install."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from personatalk.opencv import DEBIAN_PACKAGES

ROOT = Path(__file__).parents[1]
NO_LIBRARY = 'raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")'
NOT_INSTALLED = "raise ModuleNotFoundError(\"No module named 'cv2'\", name='cv2')"
SENTENCE = (
    "OpenCV cannot be loaded (libGL.so.1: cannot open shared object file: No such file or directory); "
    "on Debian or Ubuntu: apt-get install libgl1 libegl1 libgles2 libglib2.0-0 libxext6 libsm6"
)
USERS = [path for path in (ROOT / "personatalk").glob("*/**/*.py") if re.search(r"^import cv2", path.read_text(), re.M)]
ROOMS = sorted({path.relative_to(ROOT / "personatalk").parts[0] for path in USERS})


def run_python(failure: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python where importing OpenCV fails."""
    (folder / "cv2.py").write_text(failure)
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True)


def test_command_says_in_one_sentence_what_to_install(tmp_path):
    clip = ROOT / "assets" / "grid_speaker.mp4"
    ended = run_python(NO_LIBRARY, tmp_path, "-m", "personatalk", "track", str(clip), "-o", str(tmp_path / "x.npz"))
    assert (ended.returncode, ended.stderr) == (2, f"personatalk: {SENTENCE}\n")


def test_python_says_what_to_install(tmp_path):
    ended = run_python(NO_LIBRARY, tmp_path, "-c", "from personatalk import load_pipeline")
    assert ended.stderr.splitlines()[-1] == f"personatalk.errors.AdapterError: {SENTENCE}"


def test_page_says_in_one_sentence_what_to_install(tmp_path):
    ended = run_python(NO_LIBRARY, tmp_path, str(ROOT / "app.py"), "--help")
    assert (ended.returncode, ended.stderr) == (2, f"app.py: {SENTENCE}\n")


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_that_uses_it_says_what_to_install(room, tmp_path):
    ended = run_python(NO_LIBRARY, tmp_path, "-c", f"import personatalk.{room}")
    assert ended.stderr.splitlines()[-1] == f"personatalk.errors.AdapterError: {SENTENCE}"


def test_missing_package_is_named(tmp_path):
    ended = run_python(NOT_INSTALLED, tmp_path, "-c", "import personatalk.geometry")
    expected = "personatalk.errors.AdapterError: cv2 is not installed: pip install opencv-contrib-python"
    assert ended.stderr.splitlines()[-1] == expected


def test_packages_are_those_of_the_list():
    assert list(DEBIAN_PACKAGES) == (ROOT / "packages.txt").read_text().split()
