"""What several tests share: a small clip with sound, a speech, and pipelines that need no weights."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import shutil
import threading
import time
import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch._dynamo  # noqa: F401 (loads Triton's LLVM; after Mesa's, which OpenGL loads, that would crash)
from threadpoolctl import threadpool_limits

from personatalk.concurrency import one_thread
from personatalk.errors import CancelledError, MediaError, NoFaceError
from personatalk.face_rendering.clip_renderer import RenderedFrame
from personatalk.media import VideoWriter, probe_video, read_audio, read_frames
from personatalk.pipeline import DubbingPipeline, load_pipeline


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    if item.get_closest_marker("pytorch3d") and importlib.util.find_spec("pytorch3d") is None:
        pytest.skip("needs PyTorch3D")


def write_clip(path: Path, num_frames: int = 5) -> Path:
    """Write a small grey film that gets lighter, without sound."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(num_frames):
            image = np.full((48, 64, 3), 20 + 10 * index % 230, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_speech(path: Path, seconds: float = 0.5, silence: float = 0.0) -> Path:
    """Write a tone as a WAV file, silent for its first so many seconds."""
    times = np.arange(int(16000 * seconds)) / 16000
    samples = 0.3 * np.sin(2 * np.pi * 220 * times) * (times >= silence)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory) -> Iterator[Path]:
    """Keep what the tests and the programs that they start choose and make away from the user's cache.

    Uploads too: Gradio names them by their content, so a page of another process of tests would remove them.
    """
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("PERSONATALK_CACHE", str(folder))
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        yield folder


@pytest.fixture(autouse=True, scope="session")
def one_core() -> Iterator[None]:
    """Compute on one core, as do the programs that the tests start: threads that share little work wait for each other.

    What works on several frames at once does so where a test asks for it.
    """
    with one_thread(), threadpool_limits(1), pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session")
def pipeline() -> DubbingPipeline:
    """The pipeline with the weights that ship."""
    return load_pipeline()


@pytest.fixture(scope="session")
def recording(tmp_path_factory) -> tuple[Path, dict[int, RenderedFrame]]:
    """The folder of a recorded run, to be read or copied, and what was rendered at each position."""
    from recorded_run import record_run

    folder = tmp_path_factory.mktemp("recording")
    return folder, record_run(folder)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4")


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    return write_speech(tmp_path / "speech.wav")


class CopyPipeline:
    """Hands the input clip back, so that callers can be tested without a model."""

    def dub(self, video, audio, output, options=None, *, progress=None, stretch=None, **_):
        self.options, self.folder, self.audio, self.stretch = options, output.parent, audio, stretch
        if progress:
            progress(0.5, "copying")
        shutil.copy(video, output)
        self.waveform = read_audio(audio)
        self.speech_s = len(self.waveform) / 16000
        self.clip_frames = probe_video(video).num_frames
        return SimpleNamespace(
            video=output, num_frames=5, num_passed_through=1, fps=25.0, timings={"copying": 0.5}, report={"frames": 5}
        )

    def find_cast(self, video, tracker, run):
        raise NoFaceError("nobody is looked for")


class WaitingPipeline(CopyPipeline):
    """Writes the clip again, and its stream; waits in its middle until it may end."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.is_over = False

    def dub(self, video, audio, output, options=None, *, progress=None, should_stop=None, stream=None, **_):
        self.folder = output.parent
        frames = list(read_frames(video))
        with VideoWriter(output, video, audio=audio, stream=stream) as writer:
            for frame in frames:
                writer.write(frame.image, frame.pts)
                if frame.index == len(frames) // 2:
                    progress(0.5, "rendering")
                    while not self.may_end.wait(0.05):
                        if should_stop and should_stop():
                            raise CancelledError("stopped")
        self.is_over = True
        return SimpleNamespace(
            video=output, num_frames=len(frames), num_passed_through=0, fps=25.0, timings={"all": 1.0}, report={}
        )


class FacelessPipeline:
    """Finds no face in anything."""

    def dub(self, video, audio, output, options=None, **_):
        self.folder = output.parent
        raise NoFaceError("no face was found in the clip; use one where the face is seen from the front")


class PickyPipeline:
    """Finds every clip too short, and names it as the pipeline does."""

    def dub(self, video, audio, output, options=None, **_):
        raise MediaError(f"{video} is too short to dub")


class EndlessPipeline:
    """Works until it is asked to stop, five minutes at most."""

    def __init__(self) -> None:
        self.started = self.stopped = False

    def dub(self, video, audio, output, options=None, *, progress=None, should_stop=None, **_):
        self.folder, self.started = output.parent, True
        if progress:
            progress(0.1, "tracking the faces")
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            if should_stop and should_stop():
                self.stopped = True
                raise CancelledError("stopped")
            time.sleep(0.02)
        raise AssertionError("nobody asked the run to stop")


def data_url(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def call_tool(url: str, name: str, arguments: dict):
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def call():
        async with streamablehttp_client(url) as (read, write, _), ClientSession(read, write) as session:
            await session.initialize()
            return await session.call_tool(name, arguments)

    return asyncio.run(call())
