"""The numbered steps and the options of the page, and the request that a visitor's input makes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from personatalk.errors import PersonaTalkError
from personatalk.media.still import STILL_SUFFIXES, is_still
from personatalk.options import DubbingOptions
from personatalk.webapp import strings
from personatalk.webapp.face_panel import FacePanel, add_face_panel, connect_face_panel
from personatalk.webapp.languages import choices_on_page, follow, on_page, said
from personatalk.webapp.limits import Limits
from personatalk.webapp.messages import errors_as_messages
from personatalk.webapp.run_summary import name_files_as_the_page_does
from personatalk.webapp.service import DubbingService, Request
from personatalk.webapp.text_box import TextBox, add_text_box, connect_text_box
from personatalk.webapp.text_to_speech import Voice

SOUND_NAME = "sound_of_video.wav"
CLIP_HEIGHT_PX = 160


@dataclass(frozen=True, kw_only=True)
class InputForm:
    """The components that a visitor fills in.

    Attributes:
        clip: video of the speaker.
        still: a picture in its place; hidden unless there is one.
        still_upload: gives it.
        speech_video: gives its sound to `speech`.
        text_box: gives what is typed to `speech`; only where there is a voice.
        look: looks the whole clip through for persons.
        panel: chooses who is dubbed.
        estimate: how long a dub will take.
    """

    clip: gr.Video
    still: gr.Image
    still_upload: gr.UploadButton
    speech: gr.Audio
    speech_video: gr.UploadButton
    text_box: TextBox | None
    consent: gr.Checkbox
    style_strength: gr.Slider
    mouth_amplitude: gr.Slider
    expression: gr.Slider
    length: gr.Radio
    strategy: gr.Dropdown
    style_clip: gr.Video
    reference_clip: gr.Video
    look: gr.Button
    panel: FacePanel
    estimate: gr.Markdown

    @property
    def inputs(self) -> set[Component]:
        """All that a dub depends on."""
        unused = ("still_upload", "speech_video", "text_box", "look", "panel", "estimate")
        own = {getattr(self, field.name) for field in fields(self) if field.name not in unused}
        return own | set(self.panel.inputs)

    @property
    def uploads(self) -> list[gr.Video | gr.Image | gr.Audio]:
        """Components that hold a visitor's files."""
        return [self.clip, self.still, self.speech, self.style_clip, self.reference_clip, *self.panel.speeches]

    def clip_of(self, values: dict[Component, Any]) -> Path | None:
        """The clip, or the picture in its place."""
        return path_or_none(values[self.clip] or values[self.still])

    def request(self, values: dict[Component, Any]) -> Request:
        """Turn the values of `inputs` into a request.

        Raises:
            OptionError: nobody in the clip can be dubbed.
        """
        clip, speech = self.clip_of(values), path_or_none(values[self.speech])
        options = DubbingOptions(
            style_strength=values[self.style_strength],
            mouth_amplitude=values[self.mouth_amplitude],
            expression=values[self.expression],
            length=values[self.length],
            reference_strategy=values[self.strategy],
            face=self.panel.number(values, clip),
            face_point=self.panel.point(values, clip),
            style_video=path_or_none(values[self.style_clip]),
            reference_video=path_or_none(values[self.reference_clip]),
        )
        others = self.panel.other_speeches(values, clip)
        return Request(clip=clip, speech=speech, consent=values[self.consent], options=options, others=others)


def path_or_none(value: str | None) -> Path | None:
    """Turn the value of an upload component into a path."""
    return Path(value) if value else None


def show_clip(path: Path | None) -> list[Any]:
    """Give a clip, a picture in its place, or nothing: new values of `clip` and `still`."""
    is_picture, value = path is not None and is_still(path), str(path) if path else None
    return [
        gr.Video(None if is_picture else value, visible=not is_picture),
        gr.Image(value if is_picture else None, visible=is_picture),
    ]


def add_input_form(limits: Limits, voice: Voice | None = None) -> InputForm:
    """Lay the numbered steps and the options out, with a box for text where there is a voice to speak it."""
    clip = gr.Video(label=on_page(strings.CLIP_LABEL), sources=["upload"], height=CLIP_HEIGHT_PX, elem_id="clip")
    still = gr.Image(
        label=on_page(strings.STILL_LABEL),
        sources=["upload"],
        type="filepath",
        image_mode=None,
        height=CLIP_HEIGHT_PX,
        buttons=[],
        visible=False,
        elem_id="still",
    )
    with gr.Row(elem_id="clip-buttons"):
        still_upload = gr.UploadButton(
            on_page(strings.STILL_BUTTON),
            file_types=list(STILL_SUFFIXES),
            type="filepath",
            size="sm",
            min_width=120,
            elem_id="still-upload",
        )
        look = gr.Button(on_page(strings.PERSONS_BUTTON), size="sm", min_width=120, elem_id="look")
    bounds = strings.LIMITS_FORM.format(seconds=strings.spoken_time(limits.seconds), megabytes=limits.megabytes)
    gr.Markdown(on_page(strings.LIMITS_NOTE) + bounds, elem_id="note")
    panel = add_face_panel()
    speech = gr.Audio(
        label=on_page(strings.SPEECH_LABEL),
        sources=["upload", "microphone"],
        type="filepath",
        buttons=[],
        elem_id="speech",
    )
    speech_video = gr.UploadButton(
        on_page(strings.SPEECH_FROM_VIDEO), file_types=["video"], type="filepath", size="sm", elem_id="speech-video"
    )
    text_box = add_text_box(voice) if voice else None
    consent = gr.Checkbox(label=on_page(strings.CONSENT_LABEL), value=False, elem_id="consent")
    options = _add_options()
    gr.Markdown(on_page(strings.RUN_HEADING))
    estimate = gr.Markdown(on_page(strings.ESTIMATE_START), elem_id="estimate")
    return InputForm(
        clip=clip,
        still=still,
        still_upload=still_upload,
        speech=speech,
        speech_video=speech_video,
        text_box=text_box,
        consent=consent,
        estimate=estimate,
        look=look,
        panel=panel,
        **options,
    )


def _add_options() -> dict[str, Any]:
    with gr.Accordion(on_page(strings.OPTIONS_LABEL), open=False, elem_id="options"):
        return {
            "style_strength": gr.Slider(
                0.0, 1.5, 1.0, step=0.05, label=on_page(strings.STYLE_LABEL), info=on_page(strings.STYLE_INFO)
            ),
            "mouth_amplitude": gr.Slider(
                0.5, 1.5, 1.0, step=0.05, label=on_page(strings.AMPLITUDE_LABEL), info=on_page(strings.AMPLITUDE_INFO)
            ),
            "expression": gr.Slider(
                0.0, 1.0, 1.0, step=0.05, label=on_page(strings.EXPRESSION_LABEL), info=on_page(strings.EXPRESSION_INFO)
            ),
            "length": gr.Radio(
                choices_on_page(strings.LENGTHS), value="video", label=on_page(strings.LENGTH_LABEL), elem_id="length"
            ),
            "strategy": gr.Dropdown(
                choices_on_page(strings.STRATEGIES),
                value="coverage",
                label=on_page(strings.STRATEGY_LABEL),
                info=on_page(strings.STRATEGY_INFO),
            ),
            "style_clip": gr.Video(
                label=on_page(strings.STYLE_CLIP_LABEL), sources=["upload"], height=160, elem_id="style-clip"
            ),
            "reference_clip": gr.Video(
                label=on_page(strings.REFERENCE_CLIP_LABEL), sources=["upload"], height=160, elem_id="reference-clip"
            ),
        }


def connect_input_form(form: InputForm, service: DubbingService, finished: gr.State) -> None:
    """Take a picture for a clip, offer its faces, take sound from a video or text, and keep the estimate up to date.

    Args:
        form: of the visitor.
        service: that runs dubs.
        finished: changes when a run has ended, from which the estimate learns.
    """
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    _connect_still(form, service, private)
    connect_face_panel(form.panel, form.clip, form.still, form.look, service)
    _connect_speech_of_video(form, service, private)
    if form.text_box:
        connect_text_box(form.text_box, form.speech, service.sessions)
    _connect_estimate(form, service, private, finished)


def _connect_still(form: InputForm, service: DubbingService, private: dict[str, Any]) -> None:
    def take_picture(picture: str, request: gr.Request) -> list[Any]:
        follow(request)
        path = Path(picture)
        service.sessions.add_upload(str(request.session_hash), path)
        with errors_as_messages():
            service.check_clip(path)
        return show_clip(path)

    shown = [form.clip, form.still]
    form.still_upload.upload(take_picture, form.still_upload, shown, **private)
    form.still.clear(lambda: show_clip(None), None, shown, **private)


def _connect_speech_of_video(form: InputForm, service: DubbingService, private: dict[str, Any]) -> None:
    def take_sound(video: str, request: gr.Request) -> str:
        follow(request)
        session, path = str(request.session_hash), Path(video)
        service.sessions.add_upload(session, path)
        with errors_as_messages(), name_files_as_the_page_does({path: strings.VIDEO}):
            sound = service.sessions.new_folder(session) / SOUND_NAME
            service.take_sound(path, sound)
        return str(sound)

    form.speech_video.upload(take_sound, form.speech_video, form.speech, **private)


def _connect_estimate(form: InputForm, service: DubbingService, private: dict[str, Any], finished: gr.State) -> None:
    def estimate(values: dict[Component, Any], request: gr.Request) -> str:
        """Say how long the dub will take, or what is wrong with a file."""
        follow(request)
        session = str(request.session_hash)
        for path in filter(None, (path_or_none(values[component]) for component in form.uploads)):
            service.sessions.add_upload(session, path)
        if not form.clip_of(values):
            return said(strings.ESTIMATE_START)
        try:
            return service.estimate(form.request(values), session)
        except PersonaTalkError as error:
            return said(strings.WARNING.format(text=error))

    changes = [each.change for each in (*form.uploads, form.length, form.panel.face, form.panel.found, finished)]
    gr.on(changes, estimate, form.inputs, form.estimate, trigger_mode="always_last", **private)
