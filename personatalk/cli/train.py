"""The commands `preprocess` and `train`."""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from personatalk.cli.arguments import (
    add_checkpoints,
    add_command,
    add_device,
    config_of,
    existing_file,
    find_device,
)
from personatalk.errors import CheckpointError, MediaError

if TYPE_CHECKING:  # so that the help does not load PyTorch
    from personatalk.geometry.face_model import FaceModel
    from personatalk.speech.config import SpeechEncoderConfig
    from personatalk.speech.encoders import HubertEncoder, WhisperEncoder
    from personatalk.speech.sync_network import SyncNetwork
    from personatalk.training.corpus import Clip
    from personatalk.training.window_run import WindowRun

FACE_MODEL_FILE = "face_model.safetensors"
TRACKS_PER_PERSON = 8  # of the face model's training clips; keeps one speaker from outweighing the others

PREPROCESS_EXAMPLES = """
examples:
  personatalk preprocess my_videos -o corpus
      each folder below my_videos is one person; about every tenth person is kept for validation
  personatalk preprocess clips -o corpus --manifest manifest.tsv
      columns: file, split, person, and where known sound, source, language, seconds, offset, fit
"""
TRAIN_EXAMPLES = """
A run that is there is continued, on any device; `tensorboard --logdir runs` shows its curves. In this order:

  personatalk preprocess clips -o corpus --manifest manifest.tsv
  personatalk train face-model corpus runs/face --manifest manifest.tsv
  personatalk preprocess clips -o corpus --manifest manifest.tsv
      fits again, where the geometry was deleted, with the new face model
  personatalk train sync corpus runs/sync --manifest manifest.tsv --data clips
      measures each clip's offset into corpus/offsets.tsv, and whether sound and face are in sync; then trains two sync
      networks on these offsets (train offsets only measures, with the network that ships)
  personatalk train geometry corpus runs/geometry --manifest manifest.tsv --data clips
      with --speech-encoder hubert --hubert-weights hubert_fairseq_base_ls960.pth on HuBERT's features instead of
      Whisper's (train sync likewise); the run's folder then also holds the encoder, for a dub with --checkpoints
  personatalk train renderer corpus runs/renderer --manifest manifest.tsv --device auto --config '{"num_steps": 8000}'
  personatalk train interior corpus runs/interior --manifest manifest.tsv
  personatalk train occluder corpus runs/occluder --manifest manifest.tsv
  personatalk train style-map corpus runs/styles --manifest manifest.tsv
"""


def add_preprocess(commands: argparse._SubParsersAction) -> None:
    """Add the command `preprocess`."""
    preprocess = add_command(
        commands,
        "preprocess",
        _preprocess,
        description="prepare videos for training: tracks, geometry and windows, each made once",
        examples=PREPROCESS_EXAMPLES,
    )
    preprocess.add_argument("data", type=Path, help="folder of videos")
    preprocess.add_argument("-o", "--corpus", type=Path, required=True, help="folder for what is made")
    preprocess.add_argument("--manifest", type=Path, help=".tsv of the clips; without it every video is taken")
    preprocess.add_argument("--workers", type=int, help="processes (default: one a core)")
    add_checkpoints(preprocess)


def add_train(commands: argparse._SubParsersAction) -> None:
    """Add the command `train`."""
    train = add_command(
        commands,
        "train",
        _train,
        description="train a part of the system: the face model, stage 1 (geometry) or stage 2 (renderer)",
        examples=TRAIN_EXAMPLES,
    )
    train.add_argument("what", choices=list(TRAININGS))
    train.add_argument("corpus", type=Path, help="folder that preprocess filled")
    train.add_argument("folder", type=Path, help="folder of the run; the weights are written there")
    train.add_argument("--manifest", type=Path, required=True, help=".tsv of the clips")
    train.add_argument("--data", type=Path, help="folder of the videos, where their sound is not cached yet")
    train.add_argument("--config", default="{}", help="JSON that overrides the training configuration")
    train.add_argument("--model-config", default="{}", help="JSON that overrides the network's configuration")
    train.add_argument("--start-from", type=Path, help="weights to begin with (geometry, renderer, interior, occluder)")
    train.add_argument(
        "--speech-encoder",
        choices=["hubert"],
        help="speech encoder of sync, offsets and geometry (default: that of the checkpoints folder, Whisper)",
    )
    train.add_argument("--hubert-weights", type=Path, help="hubert_fairseq_base_ls960.pth; downloaded without it")
    train.add_argument(
        "--hubert-layers",
        type=int,
        nargs="+",
        default=[8],
        metavar="N",
        help="layers of HuBERT, counted from 1, whose outputs are concatenated (default: 8)",
    )
    add_checkpoints(train)
    add_device(train, "speech is encoded and the networks are trained")


def _preprocess(arguments: argparse.Namespace) -> None:
    from personatalk.training.preprocess import preprocess

    if not arguments.data.is_dir():
        raise MediaError(f"{arguments.data} is not a folder; give the folder that holds the videos")
    manifest = existing_file(arguments.manifest) if arguments.manifest else None
    totals = preprocess(
        arguments.data,
        arguments.corpus,
        _face_model(arguments),
        manifest=manifest,
        workers=arguments.workers,
        report=print,
    )
    for stage, counts in totals.items():
        print(f"{stage}: " + ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items())))


def _train(arguments: argparse.Namespace) -> None:
    from personatalk.training.corpus import read_manifest

    TRAININGS[arguments.what](arguments, read_manifest(arguments.manifest))


def _face_model(arguments: argparse.Namespace) -> FaceModel:
    from personatalk.geometry.face_model import FaceModel

    return FaceModel.load(arguments.checkpoints / FACE_MODEL_FILE)


def _cached_speech(arguments: argparse.Namespace, clips: list[Clip]) -> WhisperEncoder | HubertEncoder:
    """Load the speech encoder, and encode the clips' speech where their folder is given."""
    from personatalk.speech.encoders import load_hubert, load_speech_encoder
    from personatalk.training.speech_cache import cache_speech, check_cache

    if arguments.speech_encoder == "hubert":
        encoder = load_hubert(arguments.hubert_weights, arguments.hubert_layers)
    else:
        encoder = load_speech_encoder(arguments.checkpoints)
    if arguments.data:
        cache_speech(clips, arguments.data, arguments.corpus, encoder.to(find_device(arguments)))
    else:
        check_cache(arguments.corpus, encoder.config)
    return encoder.cpu()


def _save_encoder(encoder: WhisperEncoder | HubertEncoder, folder: Path) -> None:
    """Keep an encoder that does not ship beside the weights that were trained on its features."""
    from personatalk.checkpoints import save_model

    if encoder.config.kind != "whisper":
        save_model(encoder, encoder.config, folder, "speech_encoder")


def _sync_network(checkpoints: Path, encoder: SpeechEncoderConfig) -> SyncNetwork:
    """Load the sync network that takes the features of a speech encoder.

    Raises:
        CheckpointError: the folder's takes those of another.
    """
    from personatalk.speech.sync_network import load_sync_network

    network = load_sync_network(checkpoints)
    if network.config.speech_encoder != encoder.name:
        raise CheckpointError(
            f"{checkpoints / 'sync.json'} is for the speech encoder {network.config.speech_encoder}, not for "
            f"{encoder.name}; run `train sync` with the same encoder first, and put its sync.json and sync.safetensors "
            "into a copy of that folder"
        )
    return network


def _train_face_model(arguments: argparse.Namespace, clips: list[Clip]) -> None:
    from personatalk.training.corpus import cache_path
    from personatalk.training.face_model import learn_face_model

    tracks: dict[str, list[Path]] = defaultdict(list)
    for clip in clips:
        path = cache_path(arguments.corpus, "tracks", clip)
        if clip.split == "train" and len(tracks[clip.person]) < TRACKS_PER_PERSON and path.is_file():
            tracks[clip.person].append(path)
    paths = [path for some in tracks.values() for path in some]
    if not paths:
        raise MediaError(f"{arguments.corpus} holds no tracks of training clips; run preprocess first")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    target = arguments.folder / FACE_MODEL_FILE
    learn_face_model(paths).save(target)
    print(f"{target}: learnt from {len(paths)} clips of {sum(map(bool, tracks.values()))} persons")


def _train_style_map(arguments: argparse.Namespace, clips: list[Clip]) -> None:
    from personatalk.inspection.styles import STYLE_MAP_FILE
    from personatalk.training.style_map import learn_style_map

    style_map = learn_style_map(clips, arguments.corpus, _face_model(arguments))
    arguments.folder.mkdir(parents=True, exist_ok=True)
    style_map.save(arguments.folder / STYLE_MAP_FILE)
    print(f"{arguments.folder / STYLE_MAP_FILE}: learnt from {len(style_map.points)} persons")


def _train_sync(arguments: argparse.Namespace, clips: list[Clip]) -> None:
    from personatalk.training.config import SyncTrainingConfig
    from personatalk.training.sync.clean_corpus import clean_corpus
    from personatalk.training.sync.dataset import cache_mel

    config, device = config_of(SyncTrainingConfig, arguments.config), find_device(arguments)
    encoder = _cached_speech(arguments, clips)
    if arguments.data:
        cache_mel(clips, arguments.data, arguments.corpus)
    counts = clean_corpus(
        arguments.corpus,
        clips,
        arguments.folder,
        face_model=_face_model(arguments),
        config=config,
        encoder=encoder.config,
        device=device,
    )
    _save_encoder(encoder, arguments.folder)
    print("\n".join(f"{count} {name}" for name, count in counts.items()))


def _measure_offsets(arguments: argparse.Namespace, clips: list[Clip]) -> None:
    from personatalk.training.sync.clean_corpus import measure_corpus

    encoder = _cached_speech(arguments, clips)
    network = _sync_network(arguments.checkpoints, encoder.config)
    counts = measure_corpus(arguments.corpus, clips, face_model=_face_model(arguments), network=network)
    print("\n".join(f"{count} {name}" for name, count in counts.items()))


def _train_geometry(arguments: argparse.Namespace, clips: list[Clip]) -> None:
    from personatalk.checkpoints import save_model
    from personatalk.geometry_construction.config import GeometryModelConfig
    from personatalk.training.config import GeometryTrainingConfig
    from personatalk.training.geometry_construction.train import train_geometry

    config = config_of(GeometryTrainingConfig, arguments.config)
    model_config, device = config_of(GeometryModelConfig, arguments.model_config), find_device(arguments)
    encoder = _cached_speech(arguments, clips)
    model_config = replace(model_config, speech_encoder=encoder.config.name, audio_dim=encoder.config.feature_dim)
    model = train_geometry(
        arguments.corpus,
        clips,
        arguments.folder,
        face_model=_face_model(arguments),
        config=config,
        model_config=model_config,
        start_from=arguments.start_from,
        sync_network=_sync_network(arguments.checkpoints, encoder.config) if "sync" in config.loss_weights else None,
        device=device,
    )
    save_model(model, model.config, arguments.folder, "geometry")
    _save_encoder(encoder, arguments.folder)


def _train_renderer(arguments: argparse.Namespace, clips: list[Clip]) -> None:
    from personatalk.checkpoints import save_model
    from personatalk.face_rendering.config import RendererConfig
    from personatalk.training.config import RendererTrainingConfig
    from personatalk.training.face_rendering.train import train_renderer

    config = config_of(RendererTrainingConfig, arguments.config)
    model = train_renderer(_window_run(arguments, clips), config, config_of(RendererConfig, arguments.model_config))
    save_model(model, model.config, arguments.folder, "renderer")


def _train_interior(arguments: argparse.Namespace, clips: list[Clip]) -> None:
    from personatalk.checkpoints import save_model
    from personatalk.face_rendering.mouth_interior import MouthInteriorConfig
    from personatalk.training.config import InteriorTrainingConfig
    from personatalk.training.face_rendering.interior_train import train_interior

    config = config_of(InteriorTrainingConfig, arguments.config)
    model = train_interior(
        _window_run(arguments, clips), config, config_of(MouthInteriorConfig, arguments.model_config)
    )
    save_model(model, model.config, arguments.folder, "mouth_interior")


def _train_occluder(arguments: argparse.Namespace, clips: list[Clip]) -> None:
    from personatalk.checkpoints import save_model
    from personatalk.occlusion.network import OccluderConfig
    from personatalk.training.config import OccluderTrainingConfig
    from personatalk.training.occlusion.train import train_occluder

    config = config_of(OccluderTrainingConfig, arguments.config)
    model = train_occluder(_window_run(arguments, clips), config, config_of(OccluderConfig, arguments.model_config))
    save_model(model, model.config, arguments.folder, "occluder")


def _window_run(arguments: argparse.Namespace, clips: list[Clip]) -> WindowRun:
    from personatalk.training.window_run import WindowRun

    return WindowRun(
        corpus=arguments.corpus,
        clips=clips,
        folder=arguments.folder,
        checkpoints=arguments.checkpoints,
        start_from=arguments.start_from,
        device=find_device(arguments),
    )


TRAININGS = {
    "face-model": _train_face_model,
    "sync": _train_sync,
    "offsets": _measure_offsets,
    "geometry": _train_geometry,
    "renderer": _train_renderer,
    "interior": _train_interior,
    "occluder": _train_occluder,
    "style-map": _train_style_map,
}
