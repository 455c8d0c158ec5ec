"""Files of the package: weights with the config that they were made for, and the folder for what can be made anew."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_type_hints

from platformdirs import user_cache_path

from personatalk.errors import CheckpointError

if TYPE_CHECKING:  # so that the command line can name the folder without loading PyTorch
    from _typeshed import DataclassInstance
    from torch import Tensor, nn

C = TypeVar("C", bound="DataclassInstance")
M = TypeVar("M", bound="nn.Module")

RESTORE = (
    "put the files of the repository's folder checkpoints/ there, or name their folder "
    "with --checkpoints or load_pipeline(folder)"
)


def shipped_folder(name: str) -> Path:
    """Folder of the repository; an installed package carries it inside itself (see setup.py)."""
    installed = Path(__file__).parent / "shipped" / name
    return installed if installed.is_dir() else Path(__file__).parents[1] / name


DEFAULT_FOLDER = shipped_folder("checkpoints")


def cache_folder() -> Path:
    """Where results are kept that can be made anew: PERSONATALK_CACHE, or else a folder in the user's cache."""
    return Path(os.environ.get("PERSONATALK_CACHE") or user_cache_path("personatalk", appauthor=False))


def save_model(model: nn.Module, config: object, folder: Path, name: str) -> None:
    """Write <name>.safetensors and <name>.json into a folder."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps(to_dict(config), indent=2) + "\n")


def weights_digest(parts: Iterable[object]) -> str:
    """A digest of all weights of some models, be they modules or dataclasses of arrays; None is left out."""
    import numpy as np
    import torch

    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, torch.nn.Module):
            state = {
                key: value.detach().cpu().reshape(-1).view(torch.uint8) for key, value in part.state_dict().items()
            }
        else:
            fields = dataclasses.fields(cast(Any, part)) if part is not None else ()
            state = {field.name: getattr(part, field.name) for field in fields}
        for name, value in sorted(state.items()):
            digest.update(name.encode() + np.asarray(value).tobytes())
    return digest.hexdigest()


def load_config(cls: type[C], path: Path) -> C:
    """Read a config.

    Raises:
        CheckpointError: the file is missing, no JSON, or made for other code.
    """
    try:
        return from_dict(cls, json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise CheckpointError(f"missing config: {path}; {RESTORE}") from error
    except ValueError as error:
        raise CheckpointError(f"{path} does not fit this version: {error}") from error


def load_into(model: nn.Module, path: Path) -> None:
    """Fill a model with weights, every one of them and no other.

    Raises:
        CheckpointError: the file is missing or does not fit.
    """
    from safetensors.torch import load_file

    if not path.is_file():
        raise CheckpointError(f"missing weights: {path}; {RESTORE}")
    try:
        model.load_state_dict(load_file(path), strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit {type(model).__name__}: {error}") from error


def load_frozen(model: M, paths: Sequence[Path], own_name: Callable[[str], str | None]) -> M:
    """Fill a network from files with foreign names and kernels, all weights or none, and freeze it.

    Args:
        model: any network.
        paths: safetensors files that together hold every weight; kernels may be stored height, width, in, out.
        own_name: a name in the file to the name in the model; None for what is left out.

    Raises:
        CheckpointError: a file is missing or damaged, or does not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    state: dict[str, Tensor] = {}
    for path in paths:
        if not path.is_file():
            raise CheckpointError(f"missing weights: {path}; get the file back from the project's repository")
        try:
            foreign = load_file(path)
        except SafetensorError as error:
            raise CheckpointError(f"{path} is damaged ({error}); get the file back from the repository") from error
        for name, tensor in foreign.items():
            if (own := own_name(name)) is not None:
                state[own] = _torch_layout(name, tensor)
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"{paths[0]} does not fit {type(model).__name__}: {error}") from error
    return model.requires_grad_(False).eval()


def _torch_layout(name: str, tensor: Tensor) -> Tensor:
    """Bring a kernel from height, width, in, out to PyTorch's order, and a matrix from in, out."""
    tensor = tensor.float() if tensor.is_floating_point() else tensor
    if name.endswith((".kernel", ".filters")):
        return tensor.permute(3, 2, 0, 1).contiguous()
    return tensor.T.contiguous() if name == "fc" else tensor


def from_dict(cls: type[C], values: dict[str, Any]) -> C:
    """Build a config from JSON, refusing keys that it does not know.

    Raises:
        ValueError: an unknown key; the message names it and the known ones.
    """
    hints = get_type_hints(cls)
    known = {f.name for f in dataclasses.fields(cls)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{cls.__name__}: unknown {unknown}, known {sorted(known)}")
    nested = {name for name in values if dataclasses.is_dataclass(hints[name])}
    return cls(**{name: from_dict(hints[name], value) if name in nested else value for name, value in values.items()})


def to_dict(config: Any) -> dict[str, Any]:
    """Turn a config into what JSON can hold."""
    return dataclasses.asdict(config)
