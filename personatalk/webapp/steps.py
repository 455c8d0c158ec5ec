"""The numbered steps and the options of the page, and what a visitor's choices mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from personatalk.errors import CancelledError, PersonaTalkError
from personatalk.media import probe_video, read_audio
from personatalk.options import DubbingOptions
from personatalk.webapp import strings
from personatalk.webapp.dubber import Dubber, MissingStepError, Request
from personatalk.webapp.excerpt import SAMPLE_RATE, write_wave
from personatalk.webapp.faces import centre, find_faces, nearest_face
from personatalk.webapp.limits import Limits
from personatalk.webapp.queue import BusyError
from personatalk.webapp.summaries import in_visitors_words

SOUND_NAME = "sound_of_video.wav"
NO_FACES = np.zeros((0, 4), np.float32)


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The components that a visitor fills in.

    Attributes:
        speech_video: gives its sound to `speech`.
        faces: State, [N, 4] boxes of the first frame in shares of its width and height.
        face: number of the chosen one, counted from 0.
        face_panel: what holds the choice; hidden where there is none.
        face_picture: the first frame.
        estimate: how long a dub will take.
    """

    clip: gr.Video
    speech: gr.Audio
    speech_video: gr.UploadButton
    consent: gr.Checkbox
    style_strength: gr.Slider
    mouth_amplitude: gr.Slider
    length: gr.Radio
    strategy: gr.Dropdown
    style_clip: gr.Video
    reference_clip: gr.Video
    faces: gr.State
    face: gr.Radio
    face_panel: gr.Column
    face_picture: gr.Image
    estimate: gr.Markdown

    @property
    def inputs(self) -> set[gr.components.Component]:
        """All that a dub depends on."""
        unused = ("speech_video", "face_panel", "face_picture", "estimate")
        return {getattr(self, field.name) for field in fields(self) if field.name not in unused}

    def request(self, values: dict[gr.components.Component, Any]) -> Request:
        """Turn the values of `inputs` into what the visitor asks for."""
        clip, speech = values[self.clip], values[self.speech]
        point, boxes = None, values[self.faces]
        if clip and len(boxes) > 1 and values[self.face] is not None:
            info = probe_video(Path(clip))
            point = centre(boxes[values[self.face]], info.width, info.height)
        options = DubbingOptions(
            style_strength=values[self.style_strength],
            mouth_amplitude=values[self.mouth_amplitude],
            length=values[self.length],
            reference_strategy=values[self.strategy],
            face_point=point,
            style_video=path_or_none(values[self.style_clip]),
            reference_video=path_or_none(values[self.reference_clip]),
        )
        return Request(
            clip=path_or_none(clip), speech=path_or_none(speech), consent=values[self.consent], options=options
        )


def path_or_none(value: str | None) -> Path | None:
    """Turn what an upload gives into a path."""
    return Path(value) if value else None


@contextmanager
def plain_errors() -> Iterator[None]:
    """Show what a visitor can mend as a message, in plain words.

    Raises:
        gr.Error: in place of PersonaTalkError.
    """
    try:
        yield
    except CancelledError as error:
        raise gr.Error(strings.STOPPED, title=strings.STOPPED_TITLE, print_exception=False) from error
    except PersonaTalkError as error:
        raise gr.Error(str(error), title=title_of(error), print_exception=False) from error


def title_of(error: Exception) -> str:
    """Name the kind of an error in a few words."""
    if isinstance(error, BusyError):
        return strings.BUSY_TITLE
    return strings.MISSING_TITLE if isinstance(error, MissingStepError) else strings.REFUSED_TITLE


def show_progress(share: float, stage: str) -> None:
    """Tell the visitor whose event this is how far the work is, 0 to 1, and what is being done."""
    gr.Progress()(share, desc=stage)


def add_steps(limits: Limits) -> Steps:
    """Lay the numbered steps and the options out."""
    clip = gr.Video(label=strings.CLIP_LABEL, sources=["upload"], height=260, elem_id="clip")
    note = strings.LIMITS_NOTE.format(seconds=strings.spoken_time(limits.seconds), megabytes=limits.megabytes)
    gr.Markdown(note, elem_id="note")
    with gr.Column(visible=False, elem_id="faces") as face_panel:
        gr.Markdown(strings.FACES_NOTE)
        face_picture = gr.Image(
            label=strings.FACES_PICTURE,
            show_label=False,
            interactive=False,
            type="filepath",
            buttons=[],
            elem_id="face-picture",
        )
        face = gr.Radio([], label=strings.FACES_LABEL, elem_id="face")
    speech = gr.Audio(
        label=strings.SPEECH_LABEL, sources=["upload", "microphone"], type="filepath", buttons=[], elem_id="speech"
    )  # fmt: skip
    speech_video = gr.UploadButton(
        strings.SPEECH_FROM_VIDEO, file_types=["video"], type="filepath", size="sm", elem_id="speech-video"
    )  # fmt: skip
    consent = gr.Checkbox(label=strings.CONSENT_LABEL, value=False, elem_id="consent")
    options = _add_options()
    gr.Markdown(strings.RUN_HEADING)
    estimate = gr.Markdown(strings.ESTIMATE_START, elem_id="estimate")
    return Steps(
        clip=clip, speech=speech, speech_video=speech_video, consent=consent, **options, faces=gr.State(NO_FACES),
        face=face, face_panel=face_panel, face_picture=face_picture, estimate=estimate,
    )  # fmt: skip


def _add_options() -> dict[str, gr.components.Component]:
    with gr.Accordion(strings.OPTIONS_LABEL, open=False, elem_id="options"):
        return {
            "style_strength": gr.Slider(0.0, 1.5, 1.0, step=0.05, label=strings.STYLE_LABEL, info=strings.STYLE_INFO),
            "mouth_amplitude": gr.Slider(
                0.5, 1.5, 1.0, step=0.05, label=strings.AMPLITUDE_LABEL, info=strings.AMPLITUDE_INFO
            ),
            "length": gr.Radio(strings.LENGTHS, value="video", label=strings.LENGTH_LABEL, elem_id="length"),
            "strategy": gr.Dropdown(
                strings.STRATEGIES, value="coverage", label=strings.STRATEGY_LABEL, info=strings.STRATEGY_INFO
            ),
            "style_clip": gr.Video(
                label=strings.STYLE_CLIP_LABEL, sources=["upload"], height=160, elem_id="style-clip"
            ),
            "reference_clip": gr.Video(
                label=strings.REFERENCE_CLIP_LABEL, sources=["upload"], height=160, elem_id="reference-clip"
            ),
        }


def connect_steps(steps: Steps, dubber: Dubber) -> None:
    """Show the faces of a new clip, take the choice of one, and keep the estimate up to date."""

    def show_faces(clip: str | None, request: gr.Request) -> tuple[np.ndarray, Any, Any, Any]:
        """Offer the choice of a face where the first frame shows several."""
        try:
            picture, boxes = find_faces(Path(clip)) if clip else (None, NO_FACES)
        except PersonaTalkError:  # said by the estimate
            boxes = NO_FACES
        several, path = len(boxes) > 1, None
        if several:  # in the session's folder, so that it goes with the session
            path = str(dubber.sessions.new_folder(str(request.session_hash)) / "faces.webp")
            picture.save(path)
        choices = [
            (strings.FACE_CHOICE.format(number=i + 1) + strings.FACE_LARGEST * (i == 0), i) for i in range(len(boxes))
        ]
        return boxes, gr.Column(visible=several), path, gr.Radio(choices, value=0 if choices else None)

    def choose_face(boxes: np.ndarray, picture: str, event: gr.SelectData) -> int:
        with Image.open(picture) as image:
            width, height = image.size
        return nearest_face(boxes, event.index[0] / width, event.index[1] / height)

    def take_sound(video: str, request: gr.Request) -> str:
        session, path = str(request.session_hash), Path(video)
        dubber.sessions.add_upload(session, path)
        with plain_errors(), in_visitors_words({path: strings.VIDEO}):
            dubber.limits.check_speech(path)
            sound = dubber.sessions.new_folder(session) / SOUND_NAME
            write_wave(sound, read_audio(path, SAMPLE_RATE))
        return str(sound)

    def estimate(
        clip: str | None, speech: str | None, length: str, style: str | None, reference: str | None, request: gr.Request
    ) -> str:
        """Say how long the dub will take, or what is wrong with a file."""
        for path in filter(None, (clip, speech, style, reference)):
            dubber.sessions.add_upload(str(request.session_hash), Path(path))
        if not clip:
            return strings.ESTIMATE_START
        named = {style: strings.STYLE_CLIP, reference: strings.REFERENCE_CLIP}
        helpers = {Path(path): name for path, name in named.items() if path}
        try:
            return dubber.estimate(Path(clip), path_or_none(speech), length, helpers)
        except PersonaTalkError as error:
            return f"⚠️ {error}"

    private = {"api_visibility": "private", "show_progress": "hidden"}
    steps.clip.change(
        show_faces, steps.clip, [steps.faces, steps.face_panel, steps.face_picture, steps.face], **private
    )
    steps.face_picture.select(choose_face, [steps.faces, steps.face_picture], steps.face, **private)
    steps.speech_video.upload(take_sound, steps.speech_video, steps.speech, **private)
    given = [steps.clip, steps.speech, steps.length, steps.style_clip, steps.reference_clip]
    gr.on(
        [component.change for component in given],
        estimate,
        given,
        steps.estimate,
        trigger_mode="always_last",
        **private,
    )
