"""The command `evaluate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from personatalk.cli.arguments import add_checkpoints, add_command, add_device, existing_file, find_device
from personatalk.errors import MediaError, PersonaTalkError

# what is judged, and the evaluations that judge it
GROUPS = {
    "geometry": ("fitting", "refinement", "occlusion"),
    "speech": (
        "speech",
        "speech-measured",
        "sync",
        "style",
        "style-seconds",
        "own-speech",
        "calibration",
        "silence",
        "breath",
        "phonemes",
        "robustness",
        "languages",
        "expression",
    ),
    "rendering": ("rendering", "native", "shut-mouth"),
    "dubbing": ("dubbing", "leak", "silent-sources", "syncnet"),
}
NAMES = tuple(name for group in GROUPS.values() for name in group)
# options that only some evaluations read
OPTION_READERS = {"syncnet": ("syncnet",), "sounds": ("silence",), "renderer": ("rendering", "native")}

EXAMPLES = """
geometry:
  personatalk evaluate fitting clips corpus --manifest manifest.tsv
      geometry estimation: reprojection and jitter on the clips, errors on faces whose geometry is known
  personatalk evaluate refinement clips corpus --manifest manifest.tsv --limit 8
      the ways to refine the fit, flow and photometric, beside none; needs PyTorch3D
  personatalk evaluate occlusion clips corpus --manifest manifest.tsv
      what is found of things drawn in front of the face, and in the clips as they are
speech (stage 1):
  personatalk evaluate speech clips corpus --manifest manifest.tsv
      stage 1 beside the person's mean mouth and linear maps of the same features; speech-measured does the same at the
      offsets that `personatalk train offsets` measured
  personatalk evaluate own-speech clips corpus --manifest manifest.tsv
      which sounds are taken for a face's own speech: its own, and other people's, by length
  personatalk evaluate sync clips corpus --manifest manifest.tsv
      the sync networks on real clips: in sync or not, offsets, the clip's own sound or another's
  personatalk evaluate style clips corpus --manifest manifest.tsv
      whether the mouth is the person's when everybody says what others say; likewise calibration (own speech heard
      before), silence, breath (the mouth before speech), languages, and expression (what is kept of a smile)
  personatalk evaluate phonemes clips corpus --manifest manifest.tsv
      what the lips do at p, b, m, at f, v and at rounded vowels; needs pocketsphinx
  personatalk evaluate robustness clips corpus --manifest manifest.tsv
      stage 1 on fast, slow and pitched speech, against the true mouth played as fast
rendering (stage 2):
  personatalk evaluate rendering clips corpus --manifest manifest.tsv -o figures
      stage 2 with the true geometry, beside other frames, as they are and warped; figures holds a page of large
      frames, which shows the clips' faces. --renderer dense=runs/dense judges other weights too
  personatalk evaluate native clips corpus --manifest manifest.tsv
      stage 2 at the source's own pixels, on the eight persons with the largest faces
whole dubs:
  personatalk evaluate dubbing clips corpus --manifest manifest.tsv --limit 20
      dubs with other people's speech: following, leak, synchrony, identity
  personatalk evaluate leak clips corpus --manifest manifest.tsv
      how far dubs with silence and with other speech follow the source's mouth
  personatalk evaluate syncnet clips corpus --manifest manifest.tsv -o figures --syncnet syncnet_v2.model
      SyncNet with its authors' weights on the clips, and on the dubs that `evaluate dubbing -o figures` left
"""


def add_evaluate(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    evaluate = add_command(
        commands,
        "evaluate",
        _evaluate,
        description="measure a part of the system: a table with baselines and 95 % intervals",
        examples=EXAMPLES,
    )
    evaluate.add_argument("what", choices=NAMES)
    evaluate.add_argument("data", type=Path, help="folder of the videos")
    evaluate.add_argument("corpus", type=Path, help="folder that preprocess filled")
    evaluate.add_argument("--manifest", type=Path, required=True, help=".tsv of the clips")
    evaluate.add_argument("-o", "--output", type=Path, help="folder for the report, pictures and videos")
    evaluate.add_argument("--split", default="val", help="which clips are judged (default: val)")
    evaluate.add_argument("--limit", type=int, default=0, help="at most so many clips, spread over the persons")
    evaluate.add_argument("--syncnet", type=Path, help="SyncNet's own weights (syncnet)")
    evaluate.add_argument("--sounds", type=Path, help="folder of recordings in which nobody speaks (silence)")
    evaluate.add_argument(
        "--renderer",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="other weights of stage 2 to judge (rendering, native): a file, or a folder with renderer.safetensors; "
        "its renderer.json lies beside it; may be given several times",
    )
    add_checkpoints(evaluate)
    add_device(evaluate, "stage 2 and the networks that judge pictures run")


def _evaluate(arguments: argparse.Namespace) -> None:
    existing_file(arguments.manifest)
    for option, readers in OPTION_READERS.items():
        if getattr(arguments, option) and arguments.what not in readers:
            raise PersonaTalkError(f"--{option} is read by `evaluate {'`, `evaluate '.join(readers)}` only")
    renderers = named_paths(arguments.renderer)
    device = find_device(arguments)
    from personatalk.evaluation.inputs import EvaluationInputs
    from personatalk.evaluation.protocols import run_evaluation
    from personatalk.evaluation.report import to_markdown

    names = ("data", "manifest", "corpus", "checkpoints", "output", "split", "limit", "syncnet", "sounds")
    inputs = EvaluationInputs(**{name: getattr(arguments, name) for name in names}, renderers=renderers, device=device)
    print(to_markdown(run_evaluation(arguments.what, inputs)))


def named_paths(texts: list[str]) -> dict[str, Path]:
    """Read NAME=PATH texts.

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
