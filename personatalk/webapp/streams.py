"""The growing videos of dubs under way, each served at an address that nobody can guess, until its dub ends."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import gradio as gr
from fastapi import Response
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute

PREFIX = "/gradio_api/growing/"  # below Gradio's own, which proxies of Gradio let through
TOKEN_BYTES = 24
POLL_S = 0.05  # between two looks at a file
START_S = 10.0  # that a dub may take to be announced
PIECE_BYTES = 1 << 16
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Accept-Ranges": "none"}


@dataclass
class GrowingVideo:
    """A file that another process writes.

    Attributes:
        path: of the file, which comes with its first fragment.
        token: last part of its address.
        is_over: whether nothing more comes.
    """

    path: Path
    token: str = field(default_factory=lambda: secrets.token_urlsafe(TOKEN_BYTES))
    is_over: bool = False

    @property
    def has_begun(self) -> bool:
        """Whether there is something to play."""
        with suppress(OSError):
            return self.path.stat().st_size > 0
        return False


class Streams:
    """The growing videos of all visitors, one for each session."""

    def __init__(self) -> None:
        self._by_session: dict[str, GrowingVideo] = {}
        self._by_token: dict[str, GrowingVideo] = {}
        self._lock = threading.Lock()

    @contextmanager
    def growing(self, session: str, path: Path) -> Iterator[Path]:
        """Serve a file while a dub of the session writes it; it is removed afterwards."""
        video = GrowingVideo(path)
        with self._lock:
            self._by_session[session] = self._by_token[video.token] = video
        try:
            yield path
        finally:
            with self._lock:
                del self._by_token[video.token]
                if self._by_session.get(session) is video:
                    del self._by_session[session]
            video.is_over = True
            with suppress(OSError):
                path.unlink(missing_ok=True)

    async def address(self, session: str) -> str | None:
        """Wait for the first pictures of a session's dub.

        Returns:
            path on this server; None if there is no dub within START_S, or if it ends without them.
        """
        deadline = time.monotonic() + START_S
        while (video := self._by_session.get(session)) is None:
            if time.monotonic() > deadline:
                return None
            await asyncio.sleep(POLL_S)
        while not video.has_begun:
            if video.is_over:
                return None
            await asyncio.sleep(POLL_S)
        return PREFIX + video.token

    def routes(self) -> list[APIRoute]:
        """What an application serves the videos with."""
        return [APIRoute(PREFIX + "{token}", self.answer, include_in_schema=False)]

    async def answer(self, token: str) -> Response:
        """Send a growing video from its beginning, and on as it grows; 404 where there is none."""
        video = self._by_token.get(token)
        try:
            file = video.path.open("rb") if video else None
        except OSError:  # nothing of it is there yet
            file = None
        if video is None or file is None:
            return Response(status_code=404, headers=HEADERS)
        return StreamingResponse(pieces(video, file), media_type="video/mp4", headers=HEADERS)


async def pieces(video: GrowingVideo, file: BinaryIO) -> AsyncIterator[bytes]:
    """Read a file as it grows, to its end."""
    with file:
        while True:
            is_over = video.is_over  # asked before reading, so that nothing is missed
            if data := file.read(PIECE_BYTES):
                yield data
            elif is_over:
                return
            else:
                await asyncio.sleep(POLL_S)


class StreamingPage(gr.Blocks):
    """A page that serves growing videos besides.

    Args:
        streams: the videos.
        options: of `gr.Blocks`.
    """

    def __init__(self, streams: Streams, **options: Any) -> None:
        self.streams = streams
        super().__init__(**options)

    def launch(self, *arguments: Any, app_kwargs: dict[str, Any] | None = None, **options: Any) -> Any:
        """Serve the page as `gr.Blocks.launch` does."""
        given = app_kwargs or {}
        routes = [*given.get("routes", ()), *self.streams.routes()]
        return super().launch(*arguments, app_kwargs={**given, "routes": routes}, **options)
