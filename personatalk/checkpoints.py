"""Weights in and out: all of them or none, with the config that they were made for beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from safetensors.torch import load_file, save_file
from torch import nn

from personatalk.config import from_dict, to_dict
from personatalk.errors import CheckpointError

C = TypeVar("C")

DEFAULT_FOLDER = Path(__file__).parents[1] / "checkpoints"


def save_model(model: nn.Module, config: object, folder: Path, name: str) -> None:
    """Write <name>.safetensors and <name>.json into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps(to_dict(config), indent=2) + "\n")


def load_config(cls: type[C], path: Path) -> C:
    """Read a config.

    Raises:
        CheckpointError: the file is missing, no JSON, or made for other code.
    """
    try:
        return from_dict(cls, json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise CheckpointError(f"missing config: {path}; restore the folder checkpoints/") from error
    except ValueError as error:
        raise CheckpointError(f"{path} does not fit this version: {error}") from error


def load_into(model: nn.Module, path: Path) -> None:
    """Fill a model with weights, every one of them and no other.

    Raises:
        CheckpointError: the file is missing or does not fit.
    """
    if not path.is_file():
        raise CheckpointError(f"missing weights: {path}; restore the folder checkpoints/")
    try:
        model.load_state_dict(load_file(path), strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit {type(model).__name__}: {error}") from error
