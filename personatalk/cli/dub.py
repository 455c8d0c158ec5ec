"""The command `dub`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from personatalk.cli.arguments import add_checkpoints, add_command, add_device, add_tracker, find_device
from personatalk.cli.faces import add_face, read_face
from personatalk.cli.inspect import write_sheets_of
from personatalk.errors import PersonaTalkError
from personatalk.options import LENGTH_RULES, REFERENCE_STRATEGIES, REFINEMENTS, DubbingOptions

if TYPE_CHECKING:
    from personatalk.inspection.recorder import Recorder
    from personatalk.pipeline import DubbingPipeline, DubbingResult

STANDARD_OUTPUT = "-"
EXAMPLES = """
examples:
  personatalk dub clip.mp4 speech.wav -o dubbed.mp4
      the clip keeps its length, size and frame rate; the speech is put in complete
  personatalk dub clip.mp4 speech.wav -o dubbed.mp4 --length audio
      the result is as long as the speech: a short clip is played back and forth
  personatalk dub clip.mp4 speech.wav -o dubbed.mp4 --style-video other.mp4
      in the way of speaking that the face of other.mp4 has
  personatalk dub group.mp4 speech.wav -o dubbed.mp4 --face 640 210
      of several persons, the one nearest to this place (pixels from the left, from the top)
  personatalk dub group.mp4 speech.wav -o dubbed.mp4 --face speaking
      the one who speaks in the clip; `personatalk faces group.mp4` lists all
  personatalk dub group.mp4 --speech 0=a.wav --speech 1=b.wav -o dubbed.mp4
      two persons at once, each with a speech of their own; both are heard
  personatalk dub clip.mp4 speech.wav -o dubbed.mp4 --stream - | ffplay -
      watched while it is rendered

Only dub people who agreed to it, and say that the result is dubbed.
"""


def add_dub(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    dub = add_command(
        commands, "dub", _dub, description="dub a clip: the mouth follows the new speech", examples=EXAMPLES
    )
    dub.add_argument("clip", type=Path, help="video of the person, any size, frame rate and length, or a still image")
    dub.add_argument("speech", type=Path, nargs="?", help="the new speech: a sound file, or a video with sound")
    dub.add_argument("-o", "--output", type=Path, required=True, help="the .mp4 to write")
    dub.add_argument("--report", type=Path, help="write options, versions, timings and figures as JSON")
    dub.add_argument("--style-strength", type=float, default=1.0, help="0 an average speaker, 1 this person (default)")
    dub.add_argument("--mouth-amplitude", type=float, default=1.0, help="more than 1 opens the mouth wider (default 1)")
    dub.add_argument(
        "--expression",
        type=float,
        default=1.0,
        help="1 keeps the clip's slow expression, such as a smile (default); 0 drops it",
    )
    dub.add_argument(
        "--length",
        choices=LENGTH_RULES,
        default="video",
        help="of the clip (default); or of the speech: a short clip goes back and forth, starts again, or stands still",
    )
    dub.add_argument(
        "--references",
        choices=REFERENCE_STRATEGIES,
        default="coverage",
        help="how lip references are chosen (default: coverage)",
    )
    add_tracker(dub)
    dub.add_argument(
        "--refine",
        choices=REFINEMENTS,
        default=REFINEMENTS[0],
        help="what refines the fit of the face: optical flow (default), or photometric, slower, which needs PyTorch3D",
    )
    add_face(dub)
    dub.add_argument(
        "--speech",
        dest="speeches",
        action="append",
        metavar="FACE=SPEECH",
        help="a speech for one of several persons, by the number of `personatalk faces`; for each a --speech",
    )
    dub.add_argument("--style-video", type=Path, help="take the speaking style from this video")
    dub.add_argument("--reference-video", type=Path, help="take lips and style from this other video of the person")
    dub.add_argument("--no-offset", action="store_true", help="trust that the clip's sound and picture are in sync")
    dub.add_argument("--no-calibration", action="store_true", help="do not learn from the clip's own speech")
    dub.add_argument("--crf", type=int, default=16, help="H.264 quality, smaller is better and larger (default 16)")
    dub.add_argument(
        "--resume",
        action="store_true",
        help="keep what is finished in a folder beside the output (OUTPUT.unfinished), and go on from there if a run "
        "before was ended",
    )
    dub.add_argument(
        "--stream",
        metavar="PATH",
        help="write the video here too while it is rendered, as a fragmented MP4 that can be played as it grows: a "
        "file, a named pipe that is being read, or - for standard output",
    )
    dub.add_argument("--inspect", type=Path, metavar="FOLDER", help="record what happens inside, with pictures of it")
    add_checkpoints(dub)
    add_device(dub, "stage 2 runs")
    dub.add_argument("--quiet", action="store_true", help="no progress bar")


def load(checkpoints: Path, device: str = "cpu") -> DubbingPipeline:
    """Load the pipeline; here, so that only the commands that need it pay for it."""
    from personatalk.pipeline import load_pipeline

    return load_pipeline(checkpoints, device)


def _dub(arguments: argparse.Namespace) -> None:
    with _stream_of(arguments.stream) as stream:
        _dub_with(arguments, stream)


def _dub_with(arguments: argparse.Namespace, stream: Path | BinaryIO | None) -> None:
    from personatalk.media import check_outputs, write_text

    speech = read_speeches(arguments.speech, arguments.speeches)
    spoken = speech.values() if isinstance(speech, dict) else [speech]
    check_outputs(
        [arguments.output, arguments.report, stream if isinstance(stream, Path) else None],
        [arguments.clip, *spoken, arguments.style_video, arguments.reference_video],
        folders=[arguments.inspect],
    )
    options = _options_of(arguments)
    record = _recorder(arguments.inspect) if arguments.inspect else None
    pipeline = load(arguments.checkpoints, str(find_device(arguments)))
    asked: dict[str, Any] = {"resume": arguments.resume, "stream": stream}
    asked = {name: value for name, value in asked.items() if value}  # a pipeline of another kind need not know them
    with ProgressBar(quiet=arguments.quiet) as bar:
        result = pipeline.dub(
            arguments.clip, speech, arguments.output, options, progress=bar.show, record=record, **asked
        )
    print(_summary(result))
    for hint in result.report.get("hints", ()):
        print(f"note: {hint}")
    if lost := result.report.get("lost"):
        print(f"not kept of the clip and the speech: {'; '.join(lost)}")
    if arguments.report:
        write_text(arguments.report, json.dumps(result.report, indent=2) + "\n")
    if arguments.inspect:
        write_sheets_of(arguments.inspect)


@contextmanager
def _stream_of(given: str | None) -> Iterator[Path | BinaryIO | None]:
    """Where the growing video goes. While it goes to standard output, all that is printed goes to standard error.

    Raises:
        PersonaTalkError: standard output is a terminal.
    """
    if given != STANDARD_OUTPUT:
        yield Path(given) if given else None
        return
    if sys.stdout.isatty():
        raise PersonaTalkError("a video cannot be shown in a terminal; pipe it to a player: --stream - | ffplay -")
    sys.stdout.flush()
    number = sys.stdout.fileno()
    stream = os.fdopen(os.dup(number), "wb")
    os.dup2(sys.stderr.fileno(), number)  # what libraries print too
    try:
        yield stream
    finally:
        sys.stdout.flush()
        os.dup2(stream.fileno(), number)
        with suppress(BrokenPipeError):  # of a reader that has gone there may be something left to write
            stream.close()


def read_speeches(speech: Path | None, given: list[str] | None) -> Path | dict[int, Path]:
    """Read the speech, or those that --speech gives to faces by their numbers.

    Raises:
        PersonaTalkError: neither or both, or what is given is not a number and a file, or a number twice.
    """
    if (speech is None) == (given is None):
        raise PersonaTalkError(
            "give one speech, or a speech for each of several faces: --speech 0=a.wav --speech 1=b.wav"
        )
    if speech is not None:
        return speech
    speeches: dict[int, Path] = {}
    for words in given or ():
        number, _, path = words.partition("=")
        if not (number.isdecimal() and path) or int(number) in speeches:
            raise PersonaTalkError(
                f"--speech {words}: give each face once, by its number in `personatalk faces`, and its speech: 0=a.wav"
            )
        speeches[int(number)] = Path(path)
    return speeches


def _options_of(arguments: argparse.Namespace) -> DubbingOptions:
    face, point = read_face(arguments.face)
    return DubbingOptions(
        style_strength=arguments.style_strength,
        mouth_amplitude=arguments.mouth_amplitude,
        expression=arguments.expression,
        length=arguments.length,
        reference_strategy=arguments.references,
        tracker=arguments.tracker,
        refine=arguments.refine,
        face=face,
        face_point=point,
        style_video=arguments.style_video,
        reference_video=arguments.reference_video,
        crf=arguments.crf,
        measure_offset=not arguments.no_offset,
        calibrate=not arguments.no_calibration,
    )


def _recorder(folder: Path) -> Recorder:
    from personatalk.inspection.recorder import Recorder

    return Recorder(folder)


def _summary(result: DubbingResult) -> str:
    text = f"{result.video}: {result.num_frames} frames in {sum(result.timings.values()):.1f} s"
    if result.num_passed_through:
        text += f", {result.num_passed_through} without a usable face left as they are"
    for face in result.report.get("faces", ()):
        text += f"\nface {face['face']} speaks {face['speech']}"
        if face["num_passed_through"]:
            text += f", and is left as it is in {face['num_passed_through']} frames"
    return text


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
