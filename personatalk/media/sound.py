"""Sound: reading of waveforms, and copying or encoding of a file's sound into an MP4."""

# PyAV declares timestamps and time bases as optional; packets that were demuxed or encoded have them
# pyright: reportOptionalOperand=false, reportOperatorIssue=false

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError

from personatalk.errors import MediaError
from personatalk.media.container import decoded, open_media

COPIED_CODECS = ("aac", "mp3", "alac")  # MP4 carries them and players expect them there
AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
AAC_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}  # by number of channels
AAC_BITS_PER_CHANNEL = 128_000
MIN_MP3_RATE = 16000  # Hz; MP4 has no MPEG-2.5
MAX_CHANNELS = 64  # libswresample's limit
HINT_RATE = 16000  # Hz
SILENT = 0.003  # -50 dB of full scale, below which all samples are of speech that nobody hears
CANCELLED_SHARE = 0.01  # of the channels' power that is left when they are mixed; of two like ones all is
MAX_GAP_S = 0.005  # the rounding of timestamps stays below; longer gaps are real


def read_audio(path: Path, sample_rate: int = 16000) -> np.ndarray:
    """Read the sound of an audio or video file.

    Args:
        sample_rate: Hz of what is returned.

    Returns:
        [S] float32 in [-1, 1]: the mean of all channels, from the stream's first sample on, clipped as players do.

    Raises:
        MediaError: no such file, no sound in it, sound of no length, of too many channels, with values that are no
            numbers, or broken.
    """
    path = Path(path)
    try:
        with open_media(path) as container:
            pieces = list(_means_of_channels(decoded(container, audio_stream(container, path)), sample_rate))
    except FFmpegError as error:
        raise MediaError(f"The sound in {path.name} cannot be converted ({error}); export it as WAV.") from error
    if not sum(map(len, pieces)):
        raise MediaError(f"The sound in {path.name} is 0 s long, or broken; give a recording that holds speech.")
    waveform = np.concatenate(pieces)
    if not np.isfinite(waveform).all():
        raise MediaError(f"The sound in {path.name} is broken: some samples are not finite numbers; export it again.")
    return np.clip(waveform, -1, 1, out=waveform)


def audio_stream(container: InputContainer, path: Path) -> av.AudioStream:
    """Return a file's first audio stream.

    Raises:
        MediaError: there is none, its codec is unknown, or it has more channels than can be converted.
    """
    if not container.streams.audio:
        raise MediaError(f"{path.name} has no sound in it; give a file with an audio stream.")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise MediaError(f"The sound in {path.name} is of an unknown kind; export it as WAV.")
    num_channels = stream.codec_context.layout.nb_channels
    if num_channels > MAX_CHANNELS:
        raise MediaError(f"{path.name} has {num_channels} channels of sound; give a file with at most {MAX_CHANNELS}.")
    return stream


def add_sound(output: OutputContainer, container: InputContainer, path: Path) -> Iterator[av.Packet]:
    """Add a file's sound to an MP4 and return its packets, to be muxed in order.

    Sound starts at 0 s and is whole: its packets are copied if MP4 can carry them, else it is encoded as AAC at its
    own rate and with its own channels. Channels for which AAC has no places are mixed: 7 to stereo, 9 and more to
    their mean.

    Args:
        output: MP4 that is being set up.
        container: the file, just opened.
        path: its name, for messages.

    Raises:
        MediaError: there is no sound.
    """
    source = audio_stream(container, path)
    first_pts = _copyable_from(path)
    if first_pts is not None:
        return _copied(container, source, output.add_stream_from_template(source), first_pts)
    rate, layout = written_form(source)
    stream = output.add_stream("aac", rate=rate, layout=layout)
    stream.bit_rate = AAC_BITS_PER_CHANNEL * stream.layout.nb_channels
    return _encoded(decoded(container, source), stream)


def hints_about(sounds: Sequence[Path]) -> list[str]:
    """Say which speeches are silent, or have channels that cancel each other out; a sentence for each.

    Args:
        sounds: files with sound; only where there are several they are named.
    """
    hints = []
    for path in map(Path, sounds):
        name = "the new speech" if len(sounds) == 1 else f"the speech {path.name}"
        with open_media(path) as container:
            loudest, power, power_of_mean = _loudness(decoded(container, audio_stream(container, path)))
        if loudest < SILENT:
            hints.append(f"Nothing is heard in {name}, so the mouth stays at rest.")
        elif power_of_mean < CANCELLED_SHARE * power:
            hints.append(
                f"The channels of {name} cancel each other out when they are mixed, so hardly anything is left to move "
                "the mouth. Give a recording of one channel."
            )
    return hints


def is_copyable(path: Path) -> bool:
    """Tell whether a file's sound goes into an MP4 packet by packet."""
    return _copyable_from(path) is not None


def written_form(source: av.AudioStream) -> tuple[int, str]:
    """Return the sample rate, Hz, and the channel layout of a stream that is encoded as AAC."""
    context = source.codec_context
    rate = min((known for known in AAC_RATES if known >= context.sample_rate), default=max(AAC_RATES))
    num_channels = context.layout.nb_channels  # files often leave the layout open
    return rate, AAC_LAYOUTS.get(num_channels, "stereo" if num_channels <= max(AAC_LAYOUTS) else "mono")


def _means_of_channels(frames: Iterator[av.AudioFrame], rate: int) -> Iterator[np.ndarray]:
    """Convert to the mean of all channels, float32 [S], at one rate.

    Samples are unpacked in interleaved form: PyAV reads beyond the list of planes of a planar frame of eight or more
    channels, which ends the process.
    """
    for frame in _resampled(frames, rate, sample_format="flt"):
        yield frame.to_ndarray().reshape(-1, frame.layout.nb_channels).mean(1, dtype=np.float32)


def _loudness(frames: Iterator[av.AudioFrame]) -> tuple[float, float, float]:
    """The largest sample of any channel, the mean power of the channels, and the power of their mean."""
    loudest, power, power_of_mean = 0.0, 0.0, 0.0
    for frame in _resampled(frames, HINT_RATE, sample_format="flt"):
        samples = np.nan_to_num(frame.to_ndarray().reshape(-1, frame.layout.nb_channels).astype(np.float64))
        loudest = max(loudest, float(np.abs(samples).max(initial=0)))
        power += float(np.square(samples).mean(1).sum())
        power_of_mean += float(np.square(samples.mean(1)).sum())
    return loudest, power, power_of_mean


def _resampled(
    frames: Iterator[av.AudioFrame], rate: int, *, layout: str | None = None, sample_format: str = "fltp"
) -> Iterator[av.AudioFrame]:
    """Convert to floats at one rate, with the source's own layout if none is given; a stream may change its form."""
    resampler, form = None, None
    for frame in frames:
        if resampler is None or form != (frame.format.name, frame.layout.name, frame.sample_rate):
            if resampler is not None:
                yield from resampler.resample(None)
            form = (frame.format.name, frame.layout.name, frame.sample_rate)
            resampler = AudioResampler(format=sample_format, layout=layout or frame.layout, rate=rate)
        frame.pts = None  # samples follow each other without gaps, as in the waveform
        yield from resampler.resample(frame)
    if resampler is not None:
        yield from resampler.resample(None)


def _mixed(frames: Iterator[av.AudioFrame], rate: int) -> Iterator[av.AudioFrame]:
    """Convert to one channel, the mean of all."""
    for samples in _means_of_channels(frames, rate):
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        yield frame


def _encoded(frames: Iterator[av.AudioFrame], stream: av.AudioStream) -> Iterator[av.Packet]:
    num_samples, layout = 0, stream.layout.name
    mono = layout == "mono"  # libswresample would weigh the channels otherwise
    for frame in _mixed(frames, stream.rate) if mono else _resampled(frames, stream.rate, layout=layout):
        frame.pts, frame.time_base = num_samples, Fraction(1, stream.rate)
        num_samples += frame.samples
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _copied(
    container: InputContainer, source: av.AudioStream, target: av.AudioStream, first_pts: int
) -> Iterator[av.Packet]:
    for packet in _packets(container, source):
        packet.pts -= first_pts
        packet.dts = packet.pts
        packet.stream = target
        yield packet


def _packets(container: InputContainer, stream: av.AudioStream) -> Iterator[av.Packet]:
    """Read packets up to the end or to where the file breaks off."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError:
            return
        if packet is None:
            return
        if packet.pts is not None and packet.size:
            yield packet


def _copyable_from(path: Path) -> int | None:
    """Return the timestamp of the first audible sample, or None if the sound must be encoded.

    Copied packets keep their timestamps, but the waveform that drives the lips has no gaps: sound is copied only
    where its timestamps have none either.
    """
    with open_media(path) as container:
        stream = audio_stream(container, path)
        context = stream.codec_context
        if context.name not in COPIED_CODECS and context.codec.canonical_name not in COPIED_CODECS:
            return None
        if "mp3" in context.name and context.sample_rate < MIN_MP3_RATE:
            return None
        end, usual = None, Fraction(context.frame_size or 0, context.sample_rate) / stream.time_base
        for packet in _packets(container, stream):
            if end is not None and abs(float((packet.pts - end) * stream.time_base)) > MAX_GAP_S:
                return None
            end = packet.pts + (packet.duration or usual)
    with open_media(path) as container:
        first = next(decoded(container, audio_stream(container, path)), None)
    return None if first is None or end is None else first.pts
