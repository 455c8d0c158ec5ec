"""The commands that look at a face or into a run: `track` and `inspect`."""

from __future__ import annotations

import argparse
from pathlib import Path

from personatalk.cli.arguments import add_checkpoints, add_command, add_tracker
from personatalk.errors import NoFaceError, PersonaTalkError

EXAMPLES = """
examples:
  personatalk dub clip.mp4 speech.wav -o dubbed.mp4 --inspect inside
      records the run in inside/ and draws it in inside/sheets
  personatalk inspect inside --frame 40
      prints the run's timings and figures, and draws the sheets again, with frame 40 in those that show one
"""


def add_track(commands: argparse._SubParsersAction) -> None:
    """Add the command `track`."""
    track = add_command(
        commands, "track", _track, description="track a face: 478 landmarks in each frame, written as .npz"
    )
    track.add_argument("clip", type=Path, help="video of the person")
    track.add_argument("-o", "--output", type=Path, required=True, help="the .npz to write")
    add_tracker(track)
    track.add_argument("--face", type=float, nargs=2, metavar=("X", "Y"), help="pixels; which face of several")
    add_checkpoints(track)


def add_inspect(commands: argparse._SubParsersAction) -> None:
    """Add the command `inspect`."""
    inspect = add_command(
        commands,
        "inspect",
        _inspect,
        description="read a recorded dub: timings, figures, and pictures of geometry, style, references and attention",
        examples=EXAMPLES,
    )
    inspect.add_argument("folder", type=Path, help="folder that `dub --inspect` wrote")
    inspect.add_argument("-o", "--output", type=Path, help="folder for the sheets (default: FOLDER/sheets)")
    inspect.add_argument("--frame", type=int, help="frame of the pictures that show one (default: the middle)")


def write_sheets_of(folder: Path, output: Path | None = None, frame: int | None = None) -> None:
    """Draw the sheets of a recorded run and say where they are.

    Args:
        folder: of the recording.
        output: folder of the sheets; `sheets` in the recording's where None.
        frame: position of the frame in the pictures that show one; the middle where None.

    Raises:
        PersonaTalkError: there is no recording, or no such frame.
    """
    from personatalk.inspection.recording import Inspection
    from personatalk.inspection.sheets import write_sheets

    inspection, output = Inspection.load(folder), output or folder / "sheets"
    if frame is not None and not 0 <= frame < inspection.num_frames:
        raise PersonaTalkError(f"there is no frame {frame}; the run has frames 0 to {inspection.num_frames - 1}")
    written = write_sheets(inspection, output, frame)
    print(f"{output}: {len(written)} pictures, meshes and tables of what happened inside")


def _inspect(arguments: argparse.Namespace) -> None:
    from personatalk.inspection.figures import figures, stage_table
    from personatalk.inspection.recording import Inspection
    from personatalk.media import check_outputs

    inspection = Inspection.load(arguments.folder)
    check_outputs([], [], folders=[arguments.output or arguments.folder])
    for row in stage_table(inspection):
        print(f"{row['stage']}: {row['seconds']:.1f} s, {row['ms_per_frame']:.0f} ms a frame")
    for figure in figures(inspection):
        value = "not measured" if figure.value is None else f"{figure.value:g} {figure.unit}".strip()
        print(f"{figure.name}: {value} ({figure.meaning})")
    write_sheets_of(arguments.folder, arguments.output, arguments.frame)


def _track(arguments: argparse.Namespace) -> None:
    from personatalk.geometry.face_model import FaceModel
    from personatalk.media import check_outputs
    from personatalk.persons.search import follow_face
    from personatalk.training.corpus import save_track

    check_outputs([arguments.output], [arguments.clip])
    point = tuple(arguments.face) if arguments.face else None
    face_model = FaceModel.load(arguments.checkpoints / "face_model.safetensors")
    track, _ = follow_face(arguments.clip, face_model, tracker=arguments.tracker, point=point)
    if not track.detected.any():
        raise NoFaceError(f"no face was found in {arguments.clip}; use a video that shows one from the front")
    save_track(track, arguments.output)
    print(f"{arguments.output}: a face in {int(track.detected.sum())} of {len(track)} frames")
