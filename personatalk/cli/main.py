"""The command line: parses, calls, prints. `python -m personatalk --help` teaches it."""

from __future__ import annotations

import argparse
import errno
import json
import logging
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.cli.training import add_command, add_training_commands
from personatalk.errors import PersonaTalkError
from personatalk.options import TRACKERS

if TYPE_CHECKING:
    from personatalk.inspection.recorder import Recorder
    from personatalk.pipeline import DubbingPipeline

EXIT_MENDABLE = 2  # also what argparse exits with
EXIT_INTERRUPTED = 130
MACHINE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)  # nothing that the code can mend

DUB_EXAMPLES = """
examples:
  personatalk dub clip.mp4 speech.wav -o dubbed.mp4
      the clip keeps its length, size and frame rate; the speech is put in complete
  personatalk dub clip.mp4 speech.wav -o dubbed.mp4 --length audio
      the result is as long as the speech: a short clip is played back and forth
  personatalk dub clip.mp4 speech.wav -o dubbed.mp4 --style-video other.mp4
      in the way of speaking that the face of other.mp4 has
  personatalk dub group.mp4 speech.wav -o dubbed.mp4 --face 640 210
      of several faces, the one nearest to this place (pixels from the left, from the top)

Only dub people who agreed to it, and say that the result is dubbed.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        exit code: 0 done, 2 the user can mend it (one sentence on standard error), 130 interrupted.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parsed = build_parser().parse_args(arguments)
    try:
        parsed.run(parsed)
    except PersonaTalkError as error:
        print(f"personatalk: {error}", file=sys.stderr)
        return EXIT_MENDABLE
    except OSError as error:
        if error.errno not in MACHINE_ERRORS:
            raise
        print(f"personatalk: {error.filename or 'a file'} cannot be used: {error.strerror}", file=sys.stderr)
        return EXIT_MENDABLE
    except KeyboardInterrupt:
        print("personatalk: interrupted, no file was written", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Describe every command; imports nothing heavy, so that --help is quick."""
    parser = argparse.ArgumentParser(
        prog="personatalk",
        description="Dub a video of a person speaking with any speech, in that person's own way of speaking.",
        epilog="`personatalk COMMAND --help` shows a command's options with examples.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_dub(commands)
    _add_track(commands)
    add_training_commands(commands)
    return parser


def _add_dub(commands: argparse._SubParsersAction) -> None:
    dub = add_command(
        commands, "dub", _dub, description="dub a clip: the mouth follows the new speech", examples=DUB_EXAMPLES
    )
    dub.add_argument("clip", type=Path, help="video of the person, any size, frame rate and length")
    dub.add_argument("speech", type=Path, help="the new speech: a sound file, or a video with sound")
    dub.add_argument("-o", "--output", type=Path, required=True, help="the .mp4 to write")
    dub.add_argument("--report", type=Path, help="write options, versions, timings and figures as JSON")
    dub.add_argument("--style-strength", type=float, default=1.0, help="0 an average speaker, 1 this person (default)")
    dub.add_argument("--mouth-amplitude", type=float, default=1.0, help="more than 1 opens the mouth wider (default 1)")
    dub.add_argument(
        "--length", choices=["video", "audio", "loop", "hold"], default="video",
        help="of the clip (default); or of the speech: a short clip goes back and forth, starts again, or stands still",
    )  # fmt: skip
    dub.add_argument(
        "--references", choices=["coverage", "nearest", "paper", "random"], default="coverage",
        help="how the frames are chosen that lips are taken from (default: coverage)",
    )  # fmt: skip
    _add_tracker(dub)
    dub.add_argument("--face", type=float, nargs=2, metavar=("X", "Y"), help="pixels; which face of several")
    dub.add_argument("--style-video", type=Path, help="take the way of speaking from this video")
    dub.add_argument("--reference-video", type=Path, help="take lips and style from this other video of the person")
    dub.add_argument("--no-offset", action="store_true", help="trust that the clip's own sound fits its own picture")
    dub.add_argument("--no-calibration", action="store_true", help="do not learn from the clip's own speech")
    dub.add_argument("--crf", type=int, default=16, help="H.264 quality, smaller is better and larger (default 16)")
    dub.add_argument(
        "--inspect", type=Path, metavar="FOLDER", help="keep what happens inside there, with pictures of it"
    )
    dub.add_argument("--checkpoints", type=Path, default=DEFAULT_FOLDER, help="folder of the weights")
    dub.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_track(commands: argparse._SubParsersAction) -> None:
    track = add_command(
        commands, "track", _track, description="track a face: 478 landmarks in each frame, written as .npz"
    )
    track.add_argument("clip", type=Path)
    track.add_argument("-o", "--output", type=Path, required=True, help="the .npz to write")
    _add_tracker(track)
    track.add_argument("--face", type=float, nargs=2, metavar=("X", "Y"), help="pixels; which face of several")


def _add_tracker(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--tracker", choices=TRACKERS, default=TRACKERS[0], help="what finds the landmarks (default: %(default)s)"
    )


def load(checkpoints: Path) -> DubbingPipeline:
    """Load the pipeline; here, so that only the commands that need it pay for it."""
    from personatalk.pipeline import load_pipeline

    return load_pipeline(checkpoints)


def _dub(arguments: argparse.Namespace) -> None:
    from personatalk.media import check_outputs, write_text
    from personatalk.options import DubbingOptions

    check_outputs(
        [arguments.output, arguments.report],
        [arguments.clip, arguments.speech, arguments.style_video, arguments.reference_video],
        folders=[arguments.inspect],
    )
    options = DubbingOptions(
        style_strength=arguments.style_strength,
        mouth_amplitude=arguments.mouth_amplitude,
        length=arguments.length,
        reference_strategy=arguments.references,
        tracker=arguments.tracker,
        face_point=tuple(arguments.face) if arguments.face else None,
        style_video=arguments.style_video,
        reference_video=arguments.reference_video,
        crf=arguments.crf,
        measure_offset=not arguments.no_offset,
        calibrate=not arguments.no_calibration,
    )
    looked_at = {"record": _recorder(arguments.inspect)} if arguments.inspect else {}
    pipeline = load(arguments.checkpoints)
    with ProgressBar(quiet=arguments.quiet) as bar:
        result = pipeline.dub(
            arguments.clip, arguments.speech, arguments.output, options, progress=bar.show, **looked_at
        )
    seconds = sum(result.timings.values())
    print(f"{result.video}: {result.num_frames} frames in {seconds:.1f} s", end="")
    print(f", {result.num_passed_through} without a usable face left as they are" * bool(result.num_passed_through))
    if lost := result.report.get("lost"):
        print(f"not kept of the clip and the speech: {'; '.join(lost)}")
    if arguments.report:
        write_text(arguments.report, json.dumps(result.report, indent=2) + "\n")
    if arguments.inspect:
        _write_sheets(arguments.inspect)


def _recorder(folder: Path) -> Recorder:
    from personatalk.inspection.recorder import Recorder

    return Recorder(folder)


def _write_sheets(folder: Path) -> None:
    from personatalk.inspection.recording import Inspection
    from personatalk.inspection.sheets import write_sheets

    written = write_sheets(Inspection.load(folder), folder / "sheets")
    print(f"{folder / 'sheets'}: {len(written)} pictures, meshes and tables of what happened inside")


def _track(arguments: argparse.Namespace) -> None:
    from personatalk.errors import NoFaceError
    from personatalk.geometry.estimation import follow_face
    from personatalk.geometry.face_model import FaceModel
    from personatalk.media import check_outputs
    from personatalk.training.corpus import save_track

    check_outputs([arguments.output], [arguments.clip])
    point = tuple(arguments.face) if arguments.face else None
    face_model = FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")
    track, _ = follow_face(arguments.clip, face_model, tracker=arguments.tracker, point=point)
    if not track.detected.any():
        raise NoFaceError(f"no face was found in {arguments.clip}; use a video that shows one from the front")
    save_track(track, arguments.output)
    print(f"{arguments.output}: a face in {int(track.detected.sum())} of {len(track)} frames")


class ProgressBar(AbstractContextManager):
    """A progress bar that names the stage under way.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        from tqdm import tqdm

        layout = "{desc:<28.28} {percentage:3.0f}% |{bar}| {elapsed} gone, {remaining} left"
        self._bar = tqdm(total=100, bar_format=layout, disable=quiet, leave=False)

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, fraction: float, stage: str) -> None:
        """Show how far the work is, 0 to 1."""
        self._bar.set_description_str(stage, refresh=False)
        self._bar.update(100 * fraction - self._bar.n)
