"""What the commands share: how they are added, their common options, and checks that come before the work."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from personatalk.checkpoints import DEFAULT_FOLDER, from_dict
from personatalk.errors import MediaError, PersonaTalkError
from personatalk.options import TRACKERS

if TYPE_CHECKING:  # so that --help does not load PyTorch
    import torch
    from _typeshed import DataclassInstance

C = TypeVar("C", bound="DataclassInstance")


def add_command(
    commands: argparse._SubParsersAction,
    name: str,
    run: Callable[[argparse.Namespace], None],
    *,
    description: str,
    examples: str = "",
) -> argparse.ArgumentParser:
    """Add a command whose help ends with examples.

    Args:
        run: carries the command out.
        description: up to its first colon it also stands in the list of commands.
    """
    command = commands.add_parser(
        name,
        help=description.split(":")[0],
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    return command


def add_checkpoints(command: argparse.ArgumentParser) -> None:
    """Add --checkpoints."""
    command.add_argument("--checkpoints", type=Path, default=DEFAULT_FOLDER, help="folder of the weights")


def add_tracker(command: argparse.ArgumentParser) -> None:
    """Add --tracker."""
    command.add_argument(
        "--tracker", choices=TRACKERS, default=TRACKERS[0], help="what finds the landmarks (default: %(default)s)"
    )


def add_device(command: argparse.ArgumentParser, used_for: str) -> None:
    """Add --device.

    Args:
        used_for: what runs there.
    """
    command.add_argument(
        "--device",
        default="cpu",
        help=f"where {used_for}: cpu (default), cuda, cuda:1, or auto, which takes CUDA where PyTorch finds it",
    )


def find_device(arguments: argparse.Namespace) -> torch.device:
    """Read --device.

    Raises:
        PersonaTalkError: the machine has no such device.
    """
    from personatalk.devices import resolve_device

    try:
        return resolve_device(arguments.device)
    except ValueError as error:
        raise PersonaTalkError(str(error)) from error


def existing_file(path: Path) -> Path:
    """Refuse a path without a file.

    Raises:
        MediaError: no file is there.
    """
    if not path.is_file():
        raise MediaError(f"there is no file {path}; give the .tsv table of the clips")
    return path


def config_of(cls: type[C], text: str) -> C:
    """Read a configuration of which some values are given as JSON.

    Raises:
        PersonaTalkError: it is no JSON, names an unknown value, or a value is out of range.
    """
    try:
        return from_dict(cls, json.loads(text))
    except ValueError as error:  # of which json.JSONDecodeError is one
        raise PersonaTalkError(f"{cls.__name__}: {error}") from error
