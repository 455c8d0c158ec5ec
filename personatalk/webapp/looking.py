"""What the page's second process does: it looks at files while the first one dubs.

It starts with the page and reads files that may end it, so that what it imports is little: no networks, no Gradio.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from personatalk.media import VideoInfo, read_audio
from personatalk.media.excerpt import write_wave
from personatalk.media.still import MIN_S, probe_clip
from personatalk.webapp.face_choice import find_faces
from personatalk.webapp.limits import Limits


def prepare_nothing() -> None:
    """Prepare a process that looks at files."""


def look_at(
    _studio: None, limits: Limits, clips: dict[Path, str], speeches: dict[Path, str], **_: object
) -> tuple[list[VideoInfo], float | None]:
    """Refuse files that are too large, too long or cannot be read.

    Args:
        limits: of what is accepted.
        clips: videos or still images, with what the page calls them.
        speeches: sounds, likewise.

    Returns:
        what the clips are, in order, still images as the clips that they become; and the seconds of the longest
            speech, None without one.

    Raises:
        MediaError: what is wrong, and what to do.
    """
    for path, kind in clips.items():
        limits.check_clip(path, kind)
    spoken = max((limits.check_speech(path, kind) for path, kind in speeches.items()), default=None)
    return [probe_clip(path, spoken or MIN_S) for path in clips], spoken


def look_for_faces(_studio: None, clip: Path, **_: object) -> tuple[np.ndarray, np.ndarray]:
    """Find the faces in a clip's first frame, as `find_faces`."""
    return find_faces(clip)


def take_sound_of(_studio: None, video: Path, sound: Path, *, limits: Limits, sample_rate: int, **_: object) -> None:
    """Write the sound of a video to a WAV file.

    Raises:
        MediaError: it has none, or goes beyond a limit.
    """
    limits.check_speech(video)
    write_wave(sound, read_audio(video, sample_rate))
