"""What a video holds beside its picture and sound: what of it goes into a dub, and what is lost."""

# PyAV declares timestamps and time bases as optional; packets that were demuxed or encoded have them
# pyright: reportOptionalOperand=false, reportOperatorIssue=false

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.stream import Stream
from av.subtitles.codeccontext import SubtitleCodecContext
from av.subtitles.stream import SubtitleStream

from personatalk.media.container import decoded, open_media
from personatalk.media.decode import VideoInfo, probe_video, video_stream
from personatalk.media.sound import audio_stream, is_copyable, written_form

logger = logging.getLogger(__name__)

KEPT_TAGS = ("title", "artist", "album", "date", "genre", "copyright", "description")
TECHNICAL_TAGS = ("major_brand", "minor_version", "compatible_brands", "encoder", "creation_time", "duration")
MP4_SUBTITLES = "mov_text"
TEXT_SUBTITLES = (MP4_SUBTITLES, "subrip", "srt", "ass", "ssa", "webvtt", "text")  # the others are pictures
CHROMA_420 = (2, 2)  # luma samples per chroma sample, across and down
WRITTEN_BITS = 10  # at most
LOST_SIDE_DATA = {
    "DOVI_METADATA": "Dolby Vision metadata",
    "DYNAMIC_HDR_PLUS": "HDR10+ metadata",
    "A53_CC": "closed captions",
    "STEREO3D": "the stereoscopic layout",
    "SPHERICAL": "the spherical projection",
}


def add_tags(output: OutputContainer, source: InputContainer) -> None:
    """Copy the descriptive tags of a file."""
    for name, value in source.metadata.items():
        if name.lower() in KEPT_TAGS:  # Matroska writes most of them in capitals
            output.metadata[name.lower()] = value


def add_language(stream: Stream, source: Stream) -> None:
    """Copy the language of a stream, if it is known."""
    if language := source.metadata.get("language"):
        stream.metadata["language"] = language


def add_chapters(output: OutputContainer, source: InputContainer, start: Fraction) -> None:
    """Copy the chapters of a file whose pictures start at `start` s."""
    moved = []
    for chapter in source.chapters():
        offset = round(start / chapter["time_base"])
        first, last = max(0, chapter["start"] - offset), chapter["end"] - offset
        if last > first:
            moved.append({**chapter, "start": first, "end": last})
    if moved:
        output.set_chapters(moved)


def add_subtitles(output: OutputContainer, source: InputContainer, start: Fraction) -> Iterator[av.Packet]:
    """Add subtitles that are text, in the form of MP4, and return their packets, to be muxed in order.

    Args:
        output: MP4 that is being set up.
        source: file, just opened, whose pictures start at `start` s.
        start: s.
    """
    targets = {}
    for stream in _text_subtitles(source):
        if stream.codec_context.name == MP4_SUBTITLES:
            target = output.add_stream_from_template(stream)
        else:
            stream.codec_context.open(strict=False)
            target = output.add_stream(MP4_SUBTITLES)
            target.codec_context.subtitle_header = stream.codec_context.subtitle_header
        add_language(target, stream)
        targets[stream.index] = target
    return _subtitle_packets(source, targets, start) if targets else iter(())


def what_is_lost(video: Path, *sounds: Path, keeps_timeline: bool = True) -> list[str]:
    """List what a dub cannot keep of its clip and its speech, a few words each.

    Args:
        video: the clip.
        sounds: the speech; several are mixed.
        keeps_timeline: the output has the clip's frames, each once; else chapters and subtitles have no place in it.

    Raises:
        MediaError: a file cannot be read.
    """
    video = Path(video)
    info = probe_video(video)
    with open_media(video) as container:
        stream = video_stream(container, video)
        picture = next(decoded(container, stream))
        lost = _lost_in_pictures(picture, info) + _lost_in_tracks(container, stream, keeps_timeline)
    if len(sounds) > 1:
        return lost + ["channels of the speeches, which are mixed to one"] * any(map(_has_channels, sounds))
    return lost + [words for sound in sounds for words in _lost_in_sound(Path(sound))]


def _text_subtitles(source: InputContainer) -> list[SubtitleStream]:
    return [stream for stream in source.streams.subtitles if _codec_name(stream) in TEXT_SUBTITLES]


def _codec_name(stream: Stream) -> str:
    return stream.codec_context.name if stream.codec_context else "unknown"


def _subtitle_packets(
    source: InputContainer, targets: dict[int, SubtitleStream], start: Fraction
) -> Iterator[av.Packet]:
    for packet in source.demux([source.streams[index] for index in targets]):
        if not packet.size or packet.pts is None:
            continue
        pts = packet.pts - round(start / packet.time_base)
        moved = _in_mp4_form(packet, targets[packet.stream_index].codec_context) if pts >= 0 else None
        if moved is not None:
            moved.time_base, moved.duration = packet.time_base, packet.duration
            moved.pts = moved.dts = pts
            moved.stream = targets[packet.stream_index]
            yield moved


def _in_mp4_form(packet: av.Packet, encoder: SubtitleCodecContext) -> av.Packet | None:
    """Return a subtitle as MP4 has it, or None if it is damaged or shows nothing."""
    decoder = packet.stream.codec_context
    if decoder.name == MP4_SUBTITLES:
        return packet
    try:
        subtitle = decoder.decode2(packet)
        return encoder.encode_subtitle(subtitle) if subtitle else None
    except FFmpegError as error:
        logger.warning("a subtitle is left out: %s", error)
        return None


def _lost_in_pictures(picture: av.VideoFrame, info: VideoInfo) -> list[str]:
    parts = picture.format.components
    lost = []
    if info.bit_depth > WRITTEN_BITS:
        lost.append(f"{info.bit_depth} bits per sample ({WRITTEN_BITS} are written)")
    elif info.bit_depth > 8:
        lost.append(f"{info.bit_depth} bits per sample (they are written, from 8 bits)")
    if picture.format.is_rgb or len(parts) > 2 and not parts[1].is_alpha:
        subsampling = _subsampling(picture)
        if subsampling != CHROMA_420 and not (info.width % 2 or info.height % 2):
            lost.append("the full resolution of colour (4:2:0 is written)")
    if any(part.is_alpha for part in parts):
        lost.append("the alpha channel")
    if picture.interlaced_frame:
        lost.append("the interlacing flag")
    names = {data.type.name for data in cast(Any, picture.side_data)}
    return lost + [words for name, words in LOST_SIDE_DATA.items() if name in names]


def _subsampling(picture: av.VideoFrame) -> tuple[int, int]:
    if picture.format.is_rgb:
        return 1, 1
    luma, chroma = picture.format.components[:2]
    return -(-luma.width // chroma.width), -(-luma.height // chroma.height)


def _lost_in_tracks(container: InputContainer, stream: av.VideoStream, keeps_timeline: bool) -> list[str]:
    lost, streams = [], container.streams
    kept = {subtitles.index for subtitles in _text_subtitles(container)} if keeps_timeline else set()
    subtitles = [_codec_name(other) for other in streams.subtitles if other.index not in kept]
    if subtitles:
        lost.append(f"subtitles ({', '.join(subtitles)})")
    chapters = container.chapters()
    if chapters and not keeps_timeline:
        lost.append(f"{len(chapters)} chapters")
    data = [other for other in streams if other.type in ("data", "attachment")]
    others = {
        "other video tracks or cover pictures": len(streams.video) - 1,
        "other sound tracks of the clip": len(streams.audio) - 1,
        "data tracks and attachments": len(data) - bool(chapters and data),  # chapters are a track in MP4
    }
    lost += [f"{count} {words}" for words, count in others.items() if count > 0]
    tags = sorted({name.lower() for name in container.metadata} - set(KEPT_TAGS) - set(TECHNICAL_TAGS))
    return lost + ([f"tags ({', '.join(tags)})"] if tags else [])


def _has_channels(path: Path) -> bool:
    """Whether a file's sound has several channels."""
    with open_media(path) as container:
        return audio_stream(container, path).codec_context.layout.nb_channels > 1


def _lost_in_sound(path: Path) -> list[str]:
    with open_media(path) as container:
        lost, stream = [], audio_stream(container, path)
        if len(container.streams.audio) > 1:
            lost.append(f"{len(container.streams.audio) - 1} other sound tracks of the speech")
        context = stream.codec_context
        num_channels, source_rate = context.layout.nb_channels, context.sample_rate
        rate, layout = written_form(stream)
        written = av.AudioLayout(layout).nb_channels
    if is_copyable(path):
        return lost
    if written != num_channels:
        lost.append(f"{num_channels} channels of sound ({layout} is written)")
    if rate < source_rate:
        lost.append(f"the sample rate of {source_rate} Hz ({rate} Hz is written)")
    return lost
