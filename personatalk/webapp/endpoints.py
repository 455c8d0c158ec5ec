"""The page's functions for programs: /dub, /dub_faces, /preview, /stream, /analyze, /faces and /stop, also by MCP."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from personatalk.casting import REASONS
from personatalk.errors import OptionError, PersonaTalkError
from personatalk.options import DubbingOptions
from personatalk.webapp import strings
from personatalk.webapp.input_form import InputForm, path_or_none
from personatalk.webapp.messages import errors_for_programs, show_progress
from personatalk.webapp.persons_list import MAX_SPEECHES
from personatalk.webapp.run_controls import UNBOUNDED
from personatalk.webapp.service import DubbingService, MissingInputError, Outcome, Request

DOCUMENTATION = """{what}

Args:
    clip: Video of the person speaking, or a still image; the face seen from the front.
    speech: The new speech: a sound file, or a video with sound.
    consent: Must be true: the person shown agreed to this, or is synthetic, and the result will be called dubbed.
    style_strength: Speaking style: 0 is the population mean, 1 this person's own, up to 1.5 exaggerates it.
    mouth_amplitude: Factor on the motion of the mouth about its rest, 0.5 to 1.5.
    length: "video" as long as the clip; as long as the speech with "audio" (a short clip goes back and forth),
        "loop" (starts again) or "hold" (holds its last picture).
    reference_strategy: How the lip reference frames are selected: "coverage", "nearest", "paper" or "random".
    style_clip: Another video that gives the speaking style.
    reference_clip: Another video of the same person that gives reference frames and speaking style.
    face_x: Of several faces the nearest to this point is used: pixels from the left of the first frame.
    face_y: Pixels from the top of the first frame.
    expression: 1 keeps the clip's slow expression, such as a smile or a mouth held open; 0 drops it.

Returns:
    The dubbed video, a summary in words, and a report as JSON.
"""
DUB_WHAT = "Dub a clip: the face in it speaks the new speech, in that person's own speaking style."
PREVIEW_WHAT = "Dub two seconds of a clip from where the speech begins, to see quickly how it will look."


def add_endpoints(form: InputForm, service: DubbingService) -> None:
    """Add the endpoints to the page, where they are not visible."""
    face = [gr.Number(label=label, visible=False) for label in (strings.FACE_X_LABEL, strings.FACE_Y_LABEL)]
    inputs = [
        form.clip,
        form.speech,
        form.consent,
        form.style_strength,
        form.mouth_amplitude,
        form.length,
        form.strategy,
        form.style_clip,
        form.reference_clip,
        *face,
        form.expression,
    ]
    outputs: list[Component] = [
        gr.Video(label=strings.AFTER_LABEL, visible=False),
        gr.Textbox(label=strings.SUMMARY_LABEL, visible=False),
        gr.File(label=strings.REPORT_LABEL, visible=False),
    ]
    _add_several(form, service, outputs)
    for name, run, what in (("dub", service.dub, DUB_WHAT), ("preview", service.preview, PREVIEW_WHAT)):
        handler = _run_endpoint(run)
        handler.__name__, handler.__doc__ = name, DOCUMENTATION.format(what=what)
        gr.Button(visible=False).click(handler, inputs, outputs, api_name=name, **UNBOUNDED)
    gr.Button(visible=False).click(
        _analysis_endpoint(service),
        [form.clip, form.speech, *face],
        gr.JSON(label="Analysis", visible=False),
        api_name="analyze",
        **UNBOUNDED,
    )
    address = gr.JSON(label="Address", visible=False)
    gr.Button(visible=False).click(_stream_endpoint(service), None, address, api_name="stream", **UNBOUNDED)
    gr.Button(visible=False).click(_stop_endpoint(service), queue=False, api_name="stop")


def _add_several(form: InputForm, service: DubbingService, outputs: list[Component]) -> None:
    """Add what is of several persons: functions of their own, since callers by position must give all values of one."""
    speeches = gr.File(label=strings.SPEECHES_GIVEN_LABEL, file_count="multiple", visible=False)
    numbers = gr.JSON(label=strings.FACES_GIVEN_LABEL, visible=False)
    inputs = [form.clip, speeches, numbers, form.consent, form.style_strength, form.mouth_amplitude, form.length]
    inputs += [form.strategy, form.style_clip, form.expression]
    listed = gr.JSON(label=strings.PERSONS_BUTTON, visible=False)
    gr.Button(visible=False).click(_several_endpoint(service), inputs, outputs, api_name="dub_faces", **UNBOUNDED)
    gr.Button(visible=False).click(_faces_endpoint(service), [form.clip], listed, api_name="faces", **UNBOUNDED)


def _several_endpoint(service: DubbingService) -> Callable[..., tuple[str, str, str]]:
    def dub_faces(
        clip: str | None,
        speeches: list[str] | None,
        faces: list[int] | None,
        consent: bool,
        style_strength: float = 1.0,
        mouth_amplitude: float = 1.0,
        length: str = "video",
        reference_strategy: str = "coverage",
        style_clip: str | None = None,
        expression: float = 1.0,
        request: gr.Request = None,  # pyright: ignore[reportArgumentType]  # Gradio fills it in
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (tells Gradio that progress is shown)
    ) -> tuple[str, str, str]:
        """Dub up to three persons of a clip at once, each with a speech of its own; they are heard together.

        Args:
            clip: Video of several persons, or a still image.
            speeches: A speech for each of them: sound files, or videos with sound.
            faces: The persons' numbers of /faces, counted from 0, in the order of the speeches.
            consent: Must be true: all of them agreed to this, or are synthetic, and the result will be called dubbed.
            style_strength: As of /dub, and so are the others.

        Returns:
            The dubbed video, a summary in words, and a report as JSON.
        """
        with errors_for_programs():
            (first, speech), *others = speech_of_each(faces, speeches)
            options = DubbingOptions(
                face=first,
                style_strength=style_strength,
                mouth_amplitude=mouth_amplitude,
                expression=expression,
                length=length,
                reference_strategy=reference_strategy,
                style_video=path_or_none(style_clip),
            )
            asked = Request(
                clip=path_or_none(clip), speech=speech, consent=consent, options=options, others=dict(others)
            )
            outcome = service.dub(asked, session_of(request), show_progress)
        return str(outcome.video), outcome.summary, str(outcome.report)

    return dub_faces


def speech_of_each(faces: Any, speeches: list[str] | None) -> list[tuple[int, Path]]:
    """Pair numbers of persons with speeches.

    Raises:
        OptionError: they are not as many, too many, or no numbers of persons.
    """
    numbers, given = faces if isinstance(faces, list) else [], speeches or []
    are_numbers = all(type(number) is int and number >= 0 for number in numbers)
    if not (are_numbers and 1 <= len(set(numbers)) == len(numbers) == len(given) <= MAX_SPEECHES):
        raise OptionError(strings.FACES_AND_SPEECHES.format(most=MAX_SPEECHES))
    return list(zip(numbers, map(Path, given), strict=True))


def _faces_endpoint(service: DubbingService) -> Callable[..., list[dict[str, Any]]]:
    def faces(
        clip: str | None,
        request: gr.Request = None,  # pyright: ignore[reportArgumentType]  # Gradio fills it in
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (tells Gradio that progress is shown)
    ) -> list[dict[str, Any]]:
        """List who is seen in a clip, the one of whom there is most to see first.

        Args:
            clip: Video of one or several persons, or a still image.

        Returns:
            Of each person: number, seconds, is_speaking, and cannot_be_dubbed_because, which is null for most.
        """
        with errors_for_programs():
            if clip is None:
                raise MissingInputError(strings.CLIP_MISSING)
            found = service.find_persons(Path(clip), None, session_of(request), show_progress)
        return [
            {
                "number": person.number,
                "seconds": round(person.seconds, 2),
                "is_speaking": person.is_speaking,
                "cannot_be_dubbed_because": REASONS.get(person.reason or ""),
            }
            for person in found.persons
        ]

    return faces


def _run_endpoint(run: Callable[..., Outcome]) -> Callable[..., tuple[str, str, str]]:
    def endpoint(
        clip: str | None,
        speech: str | None,
        consent: bool,
        style_strength: float = 1.0,
        mouth_amplitude: float = 1.0,
        length: str = "video",
        reference_strategy: str = "coverage",
        style_clip: str | None = None,
        reference_clip: str | None = None,
        face_x: float | None = None,
        face_y: float | None = None,
        expression: float = 1.0,
        request: gr.Request = None,  # pyright: ignore[reportArgumentType]  # Gradio fills it in
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (tells Gradio that progress is shown)
    ) -> tuple[str, str, str]:
        """Dub or preview a clip."""
        with errors_for_programs():
            options = DubbingOptions(
                style_strength=style_strength,
                mouth_amplitude=mouth_amplitude,
                expression=expression,
                length=length,
                reference_strategy=reference_strategy,
                face_point=_face_point(face_x, face_y),
                style_video=path_or_none(style_clip),
                reference_video=path_or_none(reference_clip),
            )
            asked = Request(clip=path_or_none(clip), speech=path_or_none(speech), consent=consent, options=options)
            outcome = run(asked, session_of(request), show_progress)
        return str(outcome.video), outcome.summary, str(outcome.report)

    return endpoint


def _analysis_endpoint(service: DubbingService) -> Callable[..., dict[str, Any]]:
    def analyze(
        clip: str | None,
        speech: str | None = None,
        face_x: float | None = None,
        face_y: float | None = None,
        request: gr.Request = None,  # pyright: ignore[reportArgumentType]  # Gradio fills it in
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (tells Gradio that progress is shown)
    ) -> dict[str, Any]:
        """Measure a clip without dubbing it: face track, head pose, lip aperture, speaking style, reference frames.

        Args:
            clip: Video of the person speaking, or a still image.
            speech: A speech; with it the report adds the driven lip aperture and the reference frames of a dub.
            face_x: Of several faces the nearest to this point is used: pixels from the left of the first frame.
            face_y: Pixels from the top of the first frame.

        Returns:
            A JSON object with the keys clip, track, geometry, style and, with a speech, driven and references.
        """
        with errors_for_programs():
            return service.analyse(
                path_or_none(clip),
                path_or_none(speech),
                DubbingOptions(face_point=_face_point(face_x, face_y)),
                session_of(request),
                show_progress,
            )

    return analyze


def _stream_endpoint(service: DubbingService) -> Callable[..., Coroutine[Any, Any, dict[str, Any]]]:
    async def stream(request: gr.Request) -> dict[str, Any]:
        """Wait for the first pictures of this session's dub, and tell where its video can be read while it grows.

        Returns:
            A JSON object: address, a path on this server; null where no dub begins within ten seconds, or it fails.
        """
        return {"address": await service.streams.address(session_of(request))}

    return stream


def _stop_endpoint(service: DubbingService) -> Callable[[gr.Request], None]:
    def stop(request: gr.Request) -> None:
        """Stop the runs of this session and remove their files; MCP callers, who have no session, are refused."""
        if is_mcp(request):
            raise gr.Error(strings.STOP_NOT_BY_MCP, title=strings.REFUSED_TITLE, print_exception=False)
        service.sessions.stop(session_of(request))

    return stop


def is_mcp(request: gr.Request) -> bool:
    """Whether this call comes through Gradio's MCP server."""
    return request.headers.get("x-gradio-user") == "mcp" or not hasattr(request, "session_hash")


def session_of(request: gr.Request) -> str:
    """Name the caller's session; MCP callers share one session of Gradio's, so each of their calls gets its own."""
    return secrets.token_hex(16) if is_mcp(request) else str(request.session_hash)


def _face_point(x: float | None, y: float | None) -> tuple[float, float] | None:
    if (x is None) != (y is None):
        raise PersonaTalkError(strings.FACE_NEEDS_BOTH)
    return None if x is None or y is None else (x, y)
