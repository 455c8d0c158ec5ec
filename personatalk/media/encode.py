"""Pictures and sound out: H.264 or, for more than 8 bits, HEVC in MP4 with the source's timing, size and colour."""

# PyAV declares timestamps and time bases as optional; packets that were demuxed or encoded have them
# pyright: reportOptionalOperand=false, reportOperatorIssue=false

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError

from personatalk.errors import MediaError
from personatalk.media.colour import HD_HEIGHT, ColourConverter, ColourTags, pixel_format
from personatalk.media.container import open_media
from personatalk.media.decode import probe_video, video_stream
from personatalk.media.extras import add_chapters, add_language, add_subtitles, add_tags
from personatalk.media.picture import Pixels, to_yuv
from personatalk.media.sound import add_sound, audio_stream
from personatalk.media.stream import StreamTarget, StreamWriter
from personatalk.media.targets import PartialFile, cannot_write, check_target

logger = logging.getLogger(__name__)

AI_MODIFIED = "AI MODIFIED: dubbed with PersonaTalk"
X264_PRESET, X265_PRESET = "veryfast", "superfast"
X265_PARAMS = ("log-level=error", "bframes=0")  # of a clip shorter than its reordering, it leaves timestamps undefined
HEVC_TAG = "hvc1"  # without it, Apple's players do not play it
RGB_MATRIX = 0
BT709_MATRIX, BT601_MATRIX = 1, 6


class _Track:
    """The packets of a track; the next one is held back until the video has reached its time."""

    def __init__(self, packets: Iterator[av.Packet]) -> None:
        self._packets = packets
        self.pending = next(packets, None)

    def packets_until(self, time: float) -> Iterator[av.Packet]:
        """Yield the packets that start at `time` s or before."""
        while self.pending is not None and float(self.pending.pts * self.pending.time_base) <= time:
            yield self.pending
            self.pending = next(self._packets, None)


class VideoWriter:
    """Writes changed frames in MP4, with the source's timing, size and colour and a given sound.

    8-bit video becomes H.264, deeper video HEVC with 10 bits and the source's HDR metadata. Title, chapters, language
    and subtitles that are text are kept; `what_is_lost` lists the rest.

    The file is written beside the target under a hidden name and replaces it when it is complete; after an error
    nothing is left. Sound is copied packet by packet where MP4 can carry it, else encoded once as AAC; it is never cut.

    Args:
        path: target; replaced if it exists.
        source: the video that the frames come from.
        audio: file whose whole sound is added; None for a silent video.
        crf: constant rate factor of x264 and x265, lower is better; 16 is visually lossless.
        end_pts: ticks of the source's time base at which the last frame ends; without it, that one takes as long as
            the source's frames do on average.
        is_whole: the source's frames are written all, each at its own time; else its chapters and subtitles would not
            fit, and are left out. A given `end_pts` means that they are not.
        stream: also gets pictures and sound, as a fragmented MP4 that can be played while it grows; see
            `StreamWriter`. A file is removed where the video is not written.

    Raises:
        MediaError: source or audio cannot be read, or the target cannot be written.
    """

    def __init__(
        self,
        path: Path,
        source: Path,
        *,
        audio: Path | None,
        crf: int = 16,
        end_pts: int | None = None,
        is_whole: bool = True,
        stream: StreamTarget | None = None,
    ) -> None:
        self._path, self._source_path = Path(path), Path(source)
        self._audio_path = Path(audio) if audio else None
        check_target(self._path, [self._source_path, self._audio_path], stream=stream)
        self.info = probe_video(source)
        self.num_frames = 0
        self._colour = _stated_colour(self.info.colour, self.info.height)
        self._crf, self._end_pts, self._is_whole = crf, end_pts, is_whole and end_pts is None
        self._partial = PartialFile(self._path)
        self._converter = ColourConverter(self._colour, self.info.height, self.info.bit_depth)
        self._first_pts: int | None = None
        self._last_pts: int | None = None
        self._first_dts: int | None = None
        self._opened: OutputContainer | None = None
        self._stream_target, self._stream = stream, None
        self._inputs: list[InputContainer] = []
        self._tracks: list[_Track] = []  # of sound and subtitles

    def __enter__(self) -> VideoWriter:
        try:
            self._partial.create()
            self._opened = av.open(f"file:{self._partial.path}", "w", format="mp4", options={"movflags": "+faststart"})
            self._add_tracks()
            self._stream = StreamWriter(self._stream_target, self._opened) if self._stream_target else None
        except (OSError, FFmpegError) as error:
            self._discard()
            raise cannot_write(self._path, error) from error
        except BaseException:
            self._discard()
            raise
        return self

    def write(self, image: Pixels, pts: int) -> None:
        """Add a frame.

        Args:
            image: uint8 [H, W, 3] RGB, upright, the source's size.
            pts: ticks of the source's time base (`Frame.pts`), more than the last one's.

        Raises:
            ValueError: wrong shape, or time does not advance.
            MediaError: the disk is full or the like.
        """
        if image.shape != (self.info.height, self.info.width, 3) or image.dtype != np.uint8:
            raise ValueError(f"frame is {image.dtype} {image.shape}, video is {self.info.height}x{self.info.width}")
        if self._last_pts is not None and pts <= self._last_pts:
            raise ValueError(f"timestamp {pts} does not come after {self._last_pts}")
        frame = self._yuv(image)
        frame.pts, frame.time_base = pts, self.info.time_base
        try:
            self._mux_video(self._video.encode(frame))
            self._mux_tracks(until=float(pts * self.info.time_base))
        except (OSError, FFmpegError) as error:
            raise cannot_write(self._path, error) from error
        self._first_pts = pts if self._first_pts is None else self._first_pts
        self._last_pts = pts
        self.num_frames += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._discard()

    @property
    def _output(self) -> OutputContainer:
        if self._opened is None:
            raise ValueError("a VideoWriter writes inside of its with statement only")
        return self._opened

    def _add_tracks(self) -> None:
        source = self._open(self._source_path)
        add_tags(self._output, source)
        self._output.metadata["comment"] = AI_MODIFIED
        self._video = self._add_video()
        add_language(self._video, video_stream(source, self._source_path))
        if self._audio_path:
            speech = self._open(self._audio_path)
            packets = add_sound(self._output, speech, self._audio_path)
            add_language(self._output.streams.audio[0], audio_stream(speech, self._audio_path))
            self._tracks.append(_Track(packets))
            if self._tracks[0].pending is None:
                raise MediaError(
                    f"The sound in {self._audio_path.name} is 0 s long, or broken; give another recording."
                )
        if self._is_whole:
            start = self.info.start_pts * self.info.time_base
            add_chapters(self._output, source, start)
            self._tracks.append(_Track(add_subtitles(self._output, source, start)))

    def _open(self, path: Path) -> InputContainer:
        self._inputs.append(open_media(path))
        return self._inputs[-1]

    def _add_video(self) -> av.VideoStream:
        is_deep = self.info.bit_depth > 8
        stream = self._output.add_stream("libx265" if is_deep else "libx264", rate=self.info.fps)
        stream.width, stream.height = self.info.width, self.info.height
        stream.pix_fmt = pixel_format(self.info.width, self.info.height, self.info.bit_depth)
        stream.time_base = self.info.time_base
        stream.options = {"crf": str(self._crf), "preset": X265_PRESET if is_deep else X264_PRESET}
        if is_deep:
            stream.codec_context.codec_tag = HEVC_TAG
            params = self.info.mastering.x265_params() if self.info.mastering else []
            stream.options |= {"x265-params": ":".join([*X265_PARAMS, *params])}
        context = stream.codec_context
        context.time_base = self.info.time_base
        context.sample_aspect_ratio = self.info.sample_aspect_ratio
        context.colorspace, context.color_range = self._colour.matrix, self._colour.range
        context.color_primaries, context.color_trc = self._colour.primaries, self._colour.transfer
        context.thread_count = 0
        return stream

    def _yuv(self, image: Pixels) -> av.VideoFrame:
        frame = to_yuv(image, self._converter)
        frame.colorspace, frame.color_range = self._colour.matrix, self._colour.range
        frame.color_primaries, frame.color_trc = self._colour.primaries, self._colour.transfer
        return frame

    def _mux_video(self, packets: list[av.Packet]) -> None:
        if packets and self._first_dts is None:
            self._first_dts = packets[0].dts
        self._mux(packets)

    def _mux(self, packets: Sequence[av.Packet]) -> None:
        self._output.mux(packets)
        if self._stream is not None:
            self._stream.mux(packets)

    def _close_off(self, packets: list[av.Packet]) -> list[av.Packet]:
        """Give the last packets the durations that make the track as long as its frames.

        MP4 adds up the durations of packets in decoding order, and its edit list ends where the last picture does.
        """
        start = packets[0].dts if self._first_dts is None else self._first_dts
        usual = max(1, round(1 / self.info.fps / self.info.time_base))
        end = self._last_pts + usual if self._end_pts is None else max(self._end_pts, self._last_pts + 1)
        for packet in packets:
            if packet.pts == self._last_pts:
                packet.duration = end - self._last_pts
        packets[-1].duration = max(1, end - self._first_pts - (packets[-1].dts - start))
        return packets

    def _mux_tracks(self, until: float) -> None:
        """Interleave the other tracks with the video, so that no track waits in memory for another."""
        for track in self._tracks:
            for packet in track.packets_until(until):
                self._mux([packet])

    def _finish(self) -> None:
        if not self.num_frames:
            raise MediaError(f"{self._path.name} was not written: there was no frame to write.")
        try:
            self._mux_video(self._close_off(self._video.encode(None)))
            self._mux_tracks(until=float("inf"))
            if self._stream is not None:
                self._stream.finish()
            self._output.close()
            self._partial.put_in_place()
            self._stream = None  # it stays
        except (OSError, FFmpegError) as error:
            raise cannot_write(self._path, error) from error

    def _discard(self) -> None:
        """Close everything and remove the unfinished file and its stream, if there are some."""
        if self._stream is not None:
            self._stream.discard()
        for container in (self._opened, *self._inputs):
            try:
                if container is not None:
                    container.close()
            except (OSError, FFmpegError) as error:
                logger.debug("closing after an error: %s", error)
        self._partial.discard()


def _stated_colour(tags: ColourTags, height: int) -> ColourTags:
    """Return the source's tags; what came as RGB gets the matrix of its size, in limited range."""
    if tags.matrix != RGB_MATRIX:
        return tags
    return replace(tags, matrix=BT709_MATRIX if height >= HD_HEIGHT else BT601_MATRIX, range=1)
