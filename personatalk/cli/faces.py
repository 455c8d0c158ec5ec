"""The command `faces`: who is seen in a clip."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from personatalk.cli.arguments import add_checkpoints, add_command, add_tracker
from personatalk.errors import NoFaceError, PersonaTalkError

if TYPE_CHECKING:
    from personatalk.casting import Part

EXAMPLES = """
examples:
  personatalk faces group.mp4 -o faces
      lists the persons, and writes a picture of each: faces/0.png, faces/1.png
  personatalk dub group.mp4 speech.wav -o dubbed.mp4 --face 1
      dubs the second of them
"""


def add_faces(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    faces = add_command(
        commands, "faces", _faces, description="list who is seen in a clip: for how long, where, speaking or not",
        examples=EXAMPLES,
    )  # fmt: skip
    faces.add_argument("clip", type=Path, help="any video")
    faces.add_argument("-o", "--output", type=Path, help="folder for a picture of each person")
    add_tracker(faces)
    add_checkpoints(faces)


def add_face(command: argparse.ArgumentParser) -> None:
    """Add --face."""
    command.add_argument(
        "--face",
        nargs="+",
        metavar="FACE",
        help="which of several persons: a number of `personatalk faces`, a point X Y in pixels of the first frame, or "
        "`speaking` (default: the one of whom there is most to see)",
    )


def read_face(given: list[str] | None) -> tuple[int | str | None, tuple[float, float] | None]:
    """Read --face.

    Returns:
        number or "speaking", and point; at most one of them.

    Raises:
        PersonaTalkError: it is none of these.
    """
    words = [word for part in given or () for word in part.split(",") if word]
    if not words:
        return None, None
    if words == ["speaking"]:
        return "speaking", None
    try:
        if len(words) == 1:
            return int(words[0]), None
        x, y = map(float, words)
        return None, (x, y)
    except ValueError as error:
        raise PersonaTalkError(
            f"--face {' '.join(given or ())}: give a number of `personatalk faces`, a point as two numbers, or speaking"
        ) from error


def _faces(arguments: argparse.Namespace) -> None:
    from personatalk.casting import Listener
    from personatalk.geometry.face_model import FaceModel
    from personatalk.media import check_outputs
    from personatalk.persons.search import find_persons
    from personatalk.speech.encoders import load_speech_encoder
    from personatalk.speech.sync_network import load_sync_network

    check_outputs([], [arguments.clip], folders=[arguments.output])
    face_model = FaceModel.load(arguments.checkpoints / "face_model.safetensors")
    cast = find_persons(arguments.clip, face_model, tracker=arguments.tracker)
    if not cast.persons:
        raise NoFaceError(f"no face was found in {arguments.clip}; use a video that shows one from the front")
    listener = Listener(
        encoder=load_speech_encoder(arguments.checkpoints),
        network=load_sync_network(arguments.checkpoints),
        face_model=face_model,
    )
    for part in listener.parts(arguments.clip, cast):
        print(_line(part))
        if arguments.output:
            _write_picture(part, arguments.output / f"{part.number}.png")


def _line(part: Part) -> str:
    from personatalk.casting import reason_against

    person, box = part.person, part.person.box
    first = person.times[person.frames[0]] - person.times[0]
    middle = (box[:2] + box[2:]) / 2
    text = (
        f"{part.number}: seen for {person.seconds:.1f} s, first at {first:.1f} s around {middle[0]:.0f} "
        f"{middle[1]:.0f}, {person.width_px:.0f} pixels wide, {'speaking' if part.is_speaking else 'not speaking'}"
    )
    reason = reason_against(person, part.turn_deg)
    return f"{text}; cannot be dubbed: {reason}" if reason else text


def _write_picture(part: Part, path: Path) -> None:
    from PIL import Image

    picture = part.person.picture()
    if picture is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
