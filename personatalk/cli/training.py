"""The commands for those who train and measure: preprocess, train, evaluate."""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.errors import CheckpointError, MediaError, PersonaTalkError

if TYPE_CHECKING:  # so that the help does not load PyTorch
    from personatalk.speech.config import SpeechEncoderConfig
    from personatalk.speech.encoders import HubertEncoder, WhisperEncoder
    from personatalk.speech.sync_network import SyncNetwork
    from personatalk.training.corpus import Clip

C = TypeVar("C")
TRACKS_PER_PERSON = 8  # of the face model's training clips; keeps one speaker from outweighing the others
EVALUATION_NAMES = [
    "fitting", "speech", "speech-measured", "sync", "style", "calibration", "silence", "breath", "languages",
    "rendering", "native", "occlusion", "dubbing", "leak", "syncnet",
]  # fmt: skip

PREPROCESS_EXAMPLES = """
examples:
  personatalk preprocess my_videos -o corpus
      each folder below my_videos is one person; about every tenth person is kept for validation
  personatalk preprocess clips -o corpus --manifest manifest.tsv
      columns: file, split, person, and where known sound, source, language, offset, fit
"""
TRAIN_EXAMPLES = """
A run that is there is continued; `tensorboard --logdir runs` shows its curves. In this order:

  personatalk preprocess clips -o corpus --manifest manifest.tsv
  personatalk train face-model corpus runs/face --manifest manifest.tsv
  personatalk preprocess clips -o corpus --manifest manifest.tsv
      fits again, where the geometry was deleted, with the new face model
  personatalk train sync corpus runs/sync --manifest manifest.tsv --data clips
      measures each clip's offset into corpus/offsets.tsv, and whether the sound is the face's; then two sync networks
      (train offsets, likewise, only measures, with the network that ships)
  personatalk train geometry corpus runs/geometry --manifest manifest.tsv --data clips
      with --speech-encoder hubert --hubert-weights hubert_fairseq_base_ls960.pth on HuBERT's features instead of
      Whisper's (train sync likewise); the run's folder then also holds the encoder, for a dub with --checkpoints
  personatalk train renderer corpus runs/renderer --manifest manifest.tsv --config '{"num_steps": 8000}'
"""
EVALUATE_EXAMPLES = """
examples:
  personatalk evaluate rendering clips corpus --manifest manifest.tsv -o figures
      stage 2 with the true geometry, beside other frames, the nearest frame, and the nearest frame warped; figures
      holds a page of large frames, which shows the clips' faces. --renderer dense=runs/dense judges other weights too
  personatalk evaluate native clips corpus --manifest manifest.tsv
      stage 2 at the source's own pixels, on the eight persons with the largest faces
  personatalk evaluate speech clips corpus --manifest manifest.tsv
      stage 1 beside the person's mean mouth and linear maps of the same features; speech-measured does the same with
      sound and picture where `train sync` measured them, to half a frame, for all methods
  personatalk evaluate sync clips corpus --manifest manifest.tsv
      the sync networks on real clips: in sync or not, offsets found, own sound or another's
  personatalk evaluate style clips corpus --manifest manifest.tsv
      whose mouth it is when everybody says what others say; calibration, silence, breath (the mouth before speech) and
      languages (stage 1 by language) are the names of four more
  personatalk evaluate dubbing clips corpus --manifest manifest.tsv --limit 20
      whole dubs with other people's speech: following, leak, synchrony, identity; leak looks for the source's mouth
      in dubs with silence and with speech
  personatalk evaluate occlusion clips corpus --manifest manifest.tsv
      what is found of things drawn before the face, and what in clips as they are
  personatalk evaluate syncnet clips corpus --manifest manifest.tsv -o figures --syncnet syncnet_v2.model
      SyncNet with its authors' weights judges the clips, and the dubs that `evaluate dubbing -o figures` left
"""


def add_command(
    commands: argparse._SubParsersAction,
    name: str,
    run: Callable[[argparse.Namespace], None],
    *,
    description: str,
    examples: str = "",
) -> argparse.ArgumentParser:
    """Add a command whose help ends with examples."""
    command = commands.add_parser(
        name,
        help=description.split(":")[0],
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    return command


def add_training_commands(commands: argparse._SubParsersAction) -> None:
    """Add preprocess, train and evaluate."""
    preprocess = add_command(
        commands, "preprocess", _preprocess, examples=PREPROCESS_EXAMPLES,
        description="prepare videos for training: tracks, geometry and windows, each made once",
    )  # fmt: skip
    preprocess.add_argument("data", type=Path, help="folder of videos")
    preprocess.add_argument("-o", "--corpus", type=Path, required=True, help="folder for what is made")
    preprocess.add_argument("--manifest", type=Path, help=".tsv of the clips; without it every video is taken")
    preprocess.add_argument("--workers", type=int, help="processes (default: one a core)")
    train = add_command(
        commands, "train", _train, examples=TRAIN_EXAMPLES,
        description="train a part of the system: the face model, stage 1 (geometry) or stage 2 (renderer)",
    )  # fmt: skip
    train.add_argument("what", choices=["face-model", "style-map", "sync", "offsets", "geometry", "renderer"])
    train.add_argument("corpus", type=Path, help="folder that preprocess filled")
    train.add_argument("folder", type=Path, help="folder of the run; the weights are written there")
    train.add_argument("--manifest", type=Path, required=True, help=".tsv of the clips")
    train.add_argument("--data", type=Path, help="folder of the videos, where the sound is not cached yet")
    train.add_argument("--config", default="{}", help="JSON that overrides the training configuration")
    train.add_argument("--model-config", default="{}", help="JSON that overrides the network's configuration")
    train.add_argument("--start-from", type=Path, help="weights to begin with (geometry, renderer)")
    train.add_argument(
        "--speech-encoder", choices=["hubert"],
        help="speech encoder of sync, offsets and geometry (default: that of the checkpoints folder, Whisper)",
    )  # fmt: skip
    train.add_argument("--hubert-weights", type=Path, help="hubert_fairseq_base_ls960.pth; downloaded without it")
    train.add_argument(
        "--hubert-layers", type=int, nargs="+", default=[8], metavar="N",
        help="layers of HuBERT, counted from 1, whose outputs are concatenated (default: 8)",
    )  # fmt: skip
    evaluate = add_command(
        commands, "evaluate", _evaluate, examples=EVALUATE_EXAMPLES,
        description="measure a part of the system: a table with baselines and 95 %% intervals",
    )  # fmt: skip
    evaluate.add_argument("what", choices=EVALUATION_NAMES)
    evaluate.add_argument("data", type=Path, help="folder of the videos")
    evaluate.add_argument("corpus", type=Path, help="folder that preprocess filled")
    evaluate.add_argument("--manifest", type=Path, required=True, help=".tsv of the clips")
    evaluate.add_argument("-o", "--output", type=Path, help="folder for the report, pictures and videos")
    evaluate.add_argument("--split", default="val", help="which clips are judged (default: val)")
    evaluate.add_argument("--limit", type=int, default=0, help="at most so many clips, spread over the persons")
    evaluate.add_argument("--syncnet", type=Path, help="SyncNet's own weights, for the evaluation syncnet")
    evaluate.add_argument("--sounds", type=Path, help="folder of recordings in which nobody speaks, for silence")
    evaluate.add_argument(
        "--renderer", action="append", default=[], metavar="NAME=PATH",
        help="other weights of stage 2 to judge in rendering and native: a file, or a folder with "
        "renderer.safetensors; its renderer.json lies beside it; may be given several times",
    )  # fmt: skip
    for command in (preprocess, train, evaluate):
        command.add_argument("--checkpoints", type=Path, default=DEFAULT_FOLDER, help="folder of the weights")


def _preprocess(arguments: argparse.Namespace) -> None:
    from personatalk.geometry.face_model import FaceModel
    from personatalk.training.preprocess import preprocess

    if not arguments.data.is_dir():
        raise MediaError(f"{arguments.data} is not a folder; give the folder that holds the videos")
    totals = preprocess(
        arguments.data, arguments.corpus, FaceModel.load(arguments.checkpoints / "face_model.safetensors"),
        manifest=_existing(arguments.manifest) if arguments.manifest else None,
        workers=arguments.workers, report=print,
    )  # fmt: skip
    for stage, counts in totals.items():
        print(f"{stage}: " + ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items())))


def _train(arguments: argparse.Namespace) -> None:
    _existing(arguments.manifest)
    train = {
        "face-model": _train_face_model,
        "style-map": _train_style_map,
        "sync": _train_sync,
        "offsets": _measure_offsets,
        "geometry": _train_geometry,
        "renderer": _train_renderer,
    }
    train[arguments.what](arguments)


def _train_face_model(arguments: argparse.Namespace) -> None:
    from personatalk.training.corpus import cache_path, read_manifest
    from personatalk.training.face_model import learn_face_model

    tracks: dict[str, list[Path]] = defaultdict(list)
    for clip in read_manifest(arguments.manifest):
        path = cache_path(arguments.corpus, "tracks", clip)
        if clip.split == "train" and len(tracks[clip.person]) < TRACKS_PER_PERSON and path.is_file():
            tracks[clip.person].append(path)
    paths = [path for some in tracks.values() for path in some]
    if not paths:
        raise MediaError(f"{arguments.corpus} holds no tracks of training clips; run preprocess first")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    learn_face_model(paths).save(arguments.folder / "face_model.safetensors")
    print(f"{arguments.folder / 'face_model.safetensors'}: learnt from {len(paths)} clips of {len(tracks)} persons")


def _train_style_map(arguments: argparse.Namespace) -> None:
    from personatalk.geometry.face_model import FaceModel
    from personatalk.inspection.styles import STYLE_MAP_FILE
    from personatalk.training.corpus import read_manifest
    from personatalk.training.style_map import learn_style_map

    face_model = FaceModel.load(arguments.checkpoints / "face_model.safetensors")
    try:
        known = learn_style_map(read_manifest(arguments.manifest), arguments.corpus, face_model)
    except ValueError as error:
        raise PersonaTalkError(f"{error}; run preprocess first") from error
    arguments.folder.mkdir(parents=True, exist_ok=True)
    known.save(arguments.folder / STYLE_MAP_FILE)
    print(f"{arguments.folder / STYLE_MAP_FILE}: learnt from {len(known.points)} persons")


def _train_sync(arguments: argparse.Namespace) -> None:
    from personatalk.geometry.face_model import FaceModel
    from personatalk.training.config import SyncTrainingConfig
    from personatalk.training.corpus import read_manifest
    from personatalk.training.sync.clean_corpus import clean_corpus
    from personatalk.training.sync.dataset import cache_mel

    config, clips = _config(SyncTrainingConfig, arguments.config), read_manifest(arguments.manifest)
    encoder = _cached_speech(arguments, clips)
    if arguments.data:
        cache_mel(clips, arguments.data, arguments.corpus)
    face_model = FaceModel.load(arguments.checkpoints / "face_model.safetensors")
    counts = clean_corpus(
        arguments.corpus, clips, arguments.folder, face_model=face_model, config=config, encoder=encoder.config
    )
    _save_encoder(encoder, arguments.folder)
    print("\n".join(f"{count} {name}" for name, count in counts.items()))


def _measure_offsets(arguments: argparse.Namespace) -> None:
    from personatalk.geometry.face_model import FaceModel
    from personatalk.training.corpus import read_manifest
    from personatalk.training.sync.clean_corpus import measure_corpus

    clips = read_manifest(arguments.manifest)
    encoder = _cached_speech(arguments, clips)
    face_model = FaceModel.load(arguments.checkpoints / "face_model.safetensors")
    network = _sync_network(arguments.checkpoints, encoder.config)
    counts = measure_corpus(arguments.corpus, clips, face_model=face_model, network=network)
    print("\n".join(f"{count} {name}" for name, count in counts.items()))


def _train_geometry(arguments: argparse.Namespace) -> None:
    from personatalk.checkpoints import save_model
    from personatalk.geometry.face_model import FaceModel
    from personatalk.geometry_construction.config import GeometryModelConfig
    from personatalk.training.config import GeometryTrainingConfig
    from personatalk.training.corpus import read_manifest
    from personatalk.training.geometry_construction.train import train_geometry

    config = _config(GeometryTrainingConfig, arguments.config)
    clips = read_manifest(arguments.manifest)
    encoder = _cached_speech(arguments, clips)
    model_config = replace(
        _config(GeometryModelConfig, arguments.model_config),
        speech_encoder=encoder.config.name, audio_dim=encoder.config.feature_dim,
    )  # fmt: skip
    face_model = FaceModel.load(arguments.checkpoints / "face_model.safetensors")
    model = train_geometry(
        arguments.corpus, clips, arguments.folder, face_model=face_model, config=config, model_config=model_config,
        start_from=arguments.start_from,
        sync_network=_sync_network(arguments.checkpoints, encoder.config) if "sync" in config.loss_weights else None,
    )  # fmt: skip
    save_model(model, model.config, arguments.folder, "geometry")
    _save_encoder(encoder, arguments.folder)


def _cached_speech(arguments: argparse.Namespace, clips: list[Clip]) -> WhisperEncoder | HubertEncoder:
    """Load the speech encoder, and encode the clips' speech where their folder is given."""
    from personatalk.speech.encoders import load_hubert, load_speech_encoder
    from personatalk.training.speech_cache import cache_speech, check_cache

    if arguments.speech_encoder == "hubert":
        encoder = load_hubert(arguments.hubert_weights, arguments.hubert_layers)
    else:
        encoder = load_speech_encoder(arguments.checkpoints)
    if arguments.data:
        cache_speech(clips, arguments.data, arguments.corpus, encoder)
    else:
        check_cache(arguments.corpus, encoder.config)
    return encoder


def _save_encoder(encoder: WhisperEncoder | HubertEncoder, folder: Path) -> None:
    """Keep an encoder that does not ship beside the weights that were trained on its features."""
    from personatalk.checkpoints import save_model

    if encoder.config.kind != "whisper":
        save_model(encoder, encoder.config, folder, "speech_encoder")


def _sync_network(checkpoints: Path, encoder: SpeechEncoderConfig) -> SyncNetwork:
    from personatalk.speech.sync_network import load_sync_network

    network = load_sync_network(checkpoints)
    if network.config.speech_encoder != encoder.name:
        raise CheckpointError(
            f"{checkpoints / 'sync.json'} is for the speech encoder {network.config.speech_encoder}, not for "
            f"{encoder.name}; run `train sync` with the same encoder first, and put its sync.json and sync.safetensors "
            "into a copy of that folder"
        )
    return network


def _train_renderer(arguments: argparse.Namespace) -> None:
    from personatalk.checkpoints import save_model
    from personatalk.face_rendering.config import RendererConfig
    from personatalk.training.config import RendererTrainingConfig
    from personatalk.training.corpus import read_manifest
    from personatalk.training.face_rendering.train import train_renderer

    config = _config(RendererTrainingConfig, arguments.config)
    model_config = _config(RendererConfig, arguments.model_config)
    model = train_renderer(
        arguments.corpus, read_manifest(arguments.manifest), arguments.folder,
        checkpoints=arguments.checkpoints, config=config, model_config=model_config, start_from=arguments.start_from,
    )  # fmt: skip
    save_model(model, model_config, arguments.folder, "renderer")


def _evaluate(arguments: argparse.Namespace) -> None:
    _existing(arguments.manifest)
    from personatalk.evaluation.inputs import EvaluationInputs
    from personatalk.evaluation.protocols import run_evaluation
    from personatalk.evaluation.report import to_markdown

    renderers = named_paths(arguments.renderer)
    names = ("data", "manifest", "corpus", "checkpoints", "output", "split", "limit", "syncnet", "sounds")
    inputs = EvaluationInputs(**{name: getattr(arguments, name) for name in names}, renderers=renderers)
    print(to_markdown(run_evaluation(arguments.what, inputs)))


def named_paths(texts: list[str]) -> dict[str, Path]:
    """Read NAME=PATH texts of a command line.

    Raises:
        MediaError: a text has no name or no path, a name is given twice, or nothing is at a path.
    """
    named: dict[str, Path] = {}
    for text in texts:
        name, _, path = text.partition("=")
        if not name or not path or name in named:
            raise MediaError(f"{text!r} must be NAME=PATH, each name once")
        if not Path(path).exists():
            raise MediaError(f"{name}: there is no {path}; give a file of weights or the folder that holds it")
        named[name] = Path(path)
    return named


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise MediaError(f"there is no file {path}; give the table of the clips")
    return path


def _config(cls: type[C], text: str) -> C:
    """Read overrides of a configuration from JSON."""
    from personatalk.checkpoints import from_dict

    try:
        return from_dict(cls, json.loads(text))
    except ValueError as error:  # also what is no JSON
        raise PersonaTalkError(f"{cls.__name__}: {error}") from error
