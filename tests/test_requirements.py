"""What is imported is declared, and what is declared is imported."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
from pathlib import Path

import pytest

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10; pytest brings it
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "app.py", *sorted((ROOT / "personatalk").rglob("*.py"))]
DISTRIBUTIONS = {  # whose names are not those of their modules
    "cv2": "opencv-contrib-python", "OpenGL": "PyOpenGL", "PIL": "pillow", "piper": "piper-tts",
    "sklearn": "scikit-learn", "torch.utils.tensorboard": "tensorboard",
}  # fmt: skip
PROVIDED = {"spaces", "_typeshed"}  # by a Space of Hugging Face, by type checkers
TOOLS = {"test"}  # extras that the package itself does not import


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(requirement: str) -> str:
    return normalised(re.match(r"[A-Za-z0-9._-]+", requirement)[0])


def imports(path: Path) -> list[tuple[ast.stmt, str]]:
    """Each import of another distribution: the statement, and the distribution's name."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module] if isinstance(node, ast.ImportFrom) else []
        for module in modules:
            top = module.partition(".")[0]
            if top not in sys.stdlib_module_names and top not in ("personatalk", *PROVIDED):
                distribution = DISTRIBUTIONS.get(module) or DISTRIBUTIONS.get(top) or top
                found.append((node, normalised(distribution)))
    return found


REQUIREMENTS = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
REQUIRED = {name_of(line) for line in REQUIREMENTS}
EXTRAS = {
    name_of(line)
    for extra, lines in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"].items()
    for line in lines
    if extra not in TOOLS
}
IMPORTED = {distribution for path in FILES for _, distribution in imports(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_is_imported_is_declared(path):
    assert {distribution for _, distribution in imports(path)} <= REQUIRED | EXTRAS


def test_what_is_declared_is_imported():
    assert REQUIRED - IMPORTED == set()


def test_no_extra_is_left_over():
    assert EXTRAS - IMPORTED == set()


def test_what_is_optional_is_imported_where_it_is_used():
    for path in FILES:
        at_import = {node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)}
        lines = {node.lineno for node in at_import}
        assert not {name for node, name in imports(path) if node.lineno in lines} & (EXTRAS - REQUIRED), path


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_versions_have_both_ends(requirement):
    assert "==" in requirement or (">=" in requirement and "<" in requirement)


def test_there_is_one_opencv():
    """Two distributions of OpenCV write into the same folder, and MediaPipe brings one."""
    brought = {
        name_of(line) for name in REQUIRED for line in importlib.metadata.requires(name) or [] if "extra ==" not in line
    }
    assert {name for name in brought | REQUIRED if name.startswith("opencv")} == {"opencv-contrib-python"}
