"""Media files: probing, decoding and encoding of video and sound, frame by frame."""

import personatalk.opencv  # noqa: F401 (says what to install where OpenCV cannot be loaded)
from personatalk.media.colour import ColourTags
from personatalk.media.decode import Frame, VideoInfo, probe_video, read_frames
from personatalk.media.encode import AI_MODIFIED, VideoWriter
from personatalk.media.extras import what_is_lost
from personatalk.media.sameness import same_media
from personatalk.media.sound import read_audio
from personatalk.media.targets import check_outputs, check_target, write_text

__all__ = [
    "AI_MODIFIED",
    "ColourTags",
    "Frame",
    "VideoInfo",
    "VideoWriter",
    "check_outputs",
    "check_target",
    "probe_video",
    "read_audio",
    "read_frames",
    "same_media",
    "what_is_lost",
    "write_text",
]
