"""What the documents name exists: files, commands, options, report keys, endpoints' parameters."""

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
import importlib
import io
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from benchmarks.page import SHOTS
from personatalk.cli.main import build_parser
from personatalk.geometry_construction.expression import MomentExpression
from personatalk.geometry_construction.speaker_calibration import SpeakerCalibration
from personatalk.options import DubbingOptions
from personatalk.stages import DubbingResult

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "personatalk"
README, API = ROOT / "README.md", ROOT / "docs/api.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").glob("*.md")), ROOT / "assets/README.md", ROOT / "checkpoints/README.md"]
MAX_README_LINES = 200
GIVEN_BY_GRADIO = {"request", "progress"}
ROOTS = ("personatalk", "docs", "tests", "assets", "checkpoints", "benchmarks", "corpus", "runs")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def code_of(document: Path) -> list[str]:
    """The inline code and the lines of the code blocks, continued lines joined."""
    text = document.read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    prose = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.M | re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [*re.findall(r"`([^`\n]+)`", prose), *lines]


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return next(action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings if option.startswith("--")}


def is_understood(words: list[str]) -> bool:
    """Whether the parser takes a command line; --help counts as one."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            build_parser().parse_args(words)
        except SystemExit as end:
            return end.code == 0
    return True


def argument_names(path: Path, function: str) -> list[str]:
    tree = ast.parse(path.read_text())
    node = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == function)
    return [argument.arg for argument in node.args.args]


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= MAX_README_LINES


def test_the_readme_is_a_spaces_card():
    head, title = README.read_text().split("---\n", 2)[1:]
    values = dict(line.split(": ", 1) for line in head.splitlines())
    assert values["sdk"] == "gradio" and (ROOT / values["app_file"]).is_file()
    assert title.startswith("\n# ")


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_to_files(document):
    text = document.read_text()
    for target in [*re.findall(r"\]\(([^)#\s]+)\)", text), *re.findall(r'src="([^"]+)"', text)]:
        assert target.startswith("https://") or (document.parent / target).exists(), f"{target} does not exist"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_are_understood(document):
    for code in code_of(document):
        if not (found := re.match(r"(?:\S*python3? -m )?personatalk (?P<words>[a-z-].*)", code)):
            continue
        words = shlex.split(found["words"])
        if code.startswith("personatalk"):  # the name of a command, not a whole line to type
            assert words[0] in subparsers(build_parser()), code
        else:
            assert is_understood(words), code


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_trainings_and_evaluations_exist(document):
    known = {}
    for name in ("train", "evaluate"):
        actions = subparsers(build_parser())[name]._actions
        known[name] = next(action.choices for action in actions if action.dest == "what")
    for code in code_of(document):
        if found := re.match(r"(train|evaluate) ([a-z-]+)", code):
            assert found[2] in known[found[1]], code


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_modules_to_run_exist_with_their_options(document):
    for code in code_of(document):
        if found := re.search(r"python -m ((?:benchmarks|assets)\.\w+)(.*)", code):
            module = ROOT / f"{found[1].replace('.', '/')}.py"
            assert module.is_file(), code
            for option in re.findall(r"--[\w-]+", found[2].replace("--help", "")):
                assert f'"{option}"' in module.read_text(), f"{code}: no {option}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_files_that_are_named_exist(document):
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    for code in code_of(document):
        if not re.fullmatch(r"[\w./-]+", code) or "/" not in code.strip("/"):
            continue
        first = code.split("/")[0]
        if first in rooms:  # a module of the package, without its suffix
            assert (PACKAGE / code).exists() or (PACKAGE / f"{code}.py").is_file(), f"{code} does not exist"
        elif first in ROOTS and first not in ("corpus", "runs"):
            assert (ROOT / code).exists(), f"{code} does not exist"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_python_examples_import_what_exists(document):
    for block in re.findall(r"^```python\n(.*?)^```", document.read_text(), re.M | re.S):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("personatalk"):
                for alias in node.names:
                    assert hasattr(importlib.import_module(node.module), alias.name), f"{node.module}.{alias.name}"


def test_the_readme_lists_every_room():
    listed = set(re.findall(r"^\| `personatalk/(\w+)/`", README.read_text(), re.M))
    assert listed == {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


def test_every_option_of_a_dub_is_described_and_no_other():
    codes = " ".join(code_of(API))
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", codes))
    dub = options_of(subparsers(build_parser())["dub"]) - {"--help"}
    assert dub <= named
    known = set().union(*(options_of(parser) for parser in subparsers(build_parser()).values()))
    known |= set(re.findall(r'"(--[a-z-]+)"', (ROOT / "app.py").read_text()))
    assert named <= known


def test_every_field_and_report_key_is_described():
    codes = set(code_of(API))
    tree = ast.parse((PACKAGE / "report.py").read_text())
    report = next(node for node in ast.walk(tree) if isinstance(node, ast.Return) and isinstance(node.value, ast.Dict))
    moment = MomentExpression(values=np.zeros((1, 1), np.float32), is_against_speech=True)
    keys = {key.value for key in report.value.keys} | {"lost"}
    keys |= SpeakerCalibration().report().keys() | moment.report(1.0).keys()
    fields = {field.name for cls in (DubbingOptions, DubbingResult) for field in dataclasses.fields(cls)}
    assert keys | fields <= codes


def test_every_error_is_described():
    body = ast.parse((PACKAGE / "errors.py").read_text()).body
    assert {node.name for node in body if isinstance(node, ast.ClassDef)} <= set(code_of(API))


def test_no_row_stands_twice():
    rows = [line for line in API.read_text().splitlines() if line.startswith("| `")]
    assert len(rows) == len(set(rows))


def parameters(function: str) -> list[str]:
    """What a caller of the page's endpoint gives."""
    names = argument_names(PACKAGE / "webapp/endpoints.py", function)
    return [name for name in names if name not in GIVEN_BY_GRADIO]


def test_every_parameter_of_the_endpoints_is_described():
    for function, name in (("endpoint", "/dub"), ("dub_faces", "/dub_faces"), ("analyze", "/analyze")):
        row = next(line for line in API.read_text().splitlines() if line.startswith(f"| `{name}` |"))
        assert re.findall(r"`(\w+)`", row.split("|")[2]) == parameters(function)


def test_the_call_by_curl_gives_every_parameter():
    data = re.search(r'\\"data\\": \[(.*)\]\}"', API.read_text())[1]
    given = re.sub(r"\$\(.*?\)", "file", data).split(", ")
    assert len(given) == len(parameters("endpoint"))


def test_the_pictures_of_the_page_are_small_and_all_there():
    pictures = {path.stem: path.stat().st_size for path in (ROOT / "docs/page").iterdir()}
    assert set(pictures) == set(SHOTS) and sum(pictures.values()) < 600e3
    assert all(f"page/{name}.webp" in (ROOT / "docs/page.md").read_text() for name in pictures)
