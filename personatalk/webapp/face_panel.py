"""The choice of who is dubbed: by place in the first frame, and by person once the whole clip is looked through."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import imageio.v3 as iio
import numpy as np
from gradio.components import Component

from personatalk.errors import CancelledError, OptionError, PersonaTalkError
from personatalk.media.still import probe_clip
from personatalk.webapp import strings
from personatalk.webapp.face_choice import centre, nearest_face
from personatalk.webapp.languages import follow, on_page, said
from personatalk.webapp.messages import errors_as_messages, show_error, show_progress
from personatalk.webapp.persons_list import MAX_SPEECHES, PICTURE_PX, ClipPersons, ListedPerson, other_persons
from personatalk.webapp.service import DubbingService, MissingInputError

NO_FACES = np.zeros((0, 4), np.float32)
UNBOUNDED: dict[str, Any] = {"concurrency_limit": None}  # the service's own queue lets one run at a time through
Values = dict[Component, Any]


@dataclass(frozen=True, kw_only=True)
class FacePanel:
    """The components that choose who is dubbed.

    Attributes:
        column: holds all; hidden unless there are several faces, or the clip was looked through.
        note: what to do.
        shown_of: State, path of the clip whose first frame is shown; None where there is none.
        boxes: State, [N, 4] boxes of the first frame in shares of its width and height.
        picture: the first frame, its faces numbered; hidden once the persons are known.
        found: State, the ClipPersons; None until they are known.
        listing: of the persons.
        face: number of the chosen face of the first frame, or of the person once they are known; counted from 0.
        others: holds the speeches.
        speeches: of the first persons that can be dubbed; that of the chosen one is hidden, as step 2 gives it.
    """

    column: gr.Column
    note: gr.Markdown
    shown_of: gr.State
    boxes: gr.State
    picture: gr.Image
    found: gr.State
    listing: gr.HTML
    face: gr.Radio
    others: gr.Accordion
    speeches: list[gr.Audio]

    @property
    def inputs(self) -> list[Component]:
        """All that a dub depends on."""
        return [self.boxes, self.found, self.face, *self.speeches]

    def persons_of(self, values: Values, clip: Path | None) -> ClipPersons | None:
        """The persons of this clip; None where they are not known."""
        found: ClipPersons | None = values[self.found]
        return found if found is not None and found.clip == clip else None

    def point(self, values: Values, clip: Path | None) -> tuple[float, float] | None:
        """Middle of the chosen face, px in the first frame; None where there is no choice or a person is chosen."""
        boxes, face = values[self.boxes], values[self.face]
        if clip is None or self.persons_of(values, clip) or len(boxes) < 2 or face is None:
            return None
        info = probe_clip(clip)
        return centre(boxes[face], info.width, info.height)

    def number(self, values: Values, clip: Path | None) -> int | None:
        """Number of the chosen person; None where the persons are not known.

        Raises:
            OptionError: nobody can be dubbed.
        """
        found = self.persons_of(values, clip)
        if found is None:
            return None
        if values[self.face] not in found.usable:
            raise OptionError(said(strings.NOBODY_USABLE))
        return values[self.face]

    def other_speeches(self, values: Values, clip: Path | None) -> dict[int, Path]:
        """What further persons say, by their numbers."""
        found = self.persons_of(values, clip)
        if found is None:
            return {}
        given = dict(zip(found.usable, (values[each] for each in self.speeches), strict=False))
        return {number: Path(given[number]) for number in other_persons(found, values[self.face]) if given.get(number)}


def add_face_panel() -> FacePanel:
    """Lay the panel out."""
    with gr.Column(visible=False, elem_id="faces") as column:
        note = gr.Markdown(on_page(strings.FACES_NOTE))
        picture = gr.Image(
            label=on_page(strings.FACES_PICTURE),
            show_label=False,
            interactive=False,
            type="filepath",
            buttons=[],
            elem_id="face-picture",
        )
        listing = gr.HTML("", elem_id="persons")
        face = gr.Radio([], label=on_page(strings.FACES_LABEL), elem_id="face")
        with gr.Accordion(
            on_page(strings.SPEECHES_LABEL), open=False, visible=False, elem_id="other-speeches"
        ) as others:
            gr.Markdown(on_page(strings.SPEECHES_NOTE))
            speeches = [
                gr.Audio(
                    sources=["upload"],
                    type="filepath",
                    buttons=[],
                    visible=False,
                    elem_id=f"speech-{number}",
                    elem_classes="other-speech",
                )
                for number in range(MAX_SPEECHES)
            ]
    return FacePanel(
        column=column,
        note=note,
        shown_of=gr.State(None),
        boxes=gr.State(NO_FACES),
        picture=picture,
        found=gr.State(None),
        listing=listing,
        face=face,
        others=others,
        speeches=speeches,
    )


def connect_face_panel(
    panel: FacePanel, clip: gr.Video, still: gr.Image, look: gr.Button, service: DubbingService
) -> None:
    """Offer the faces of the first frame at once, then the persons of the whole clip.

    Args:
        panel: to connect.
        clip: of the visitor.
        still: a picture in its place.
        look: asks for the persons where the first frame does not show several.
        service: finds faces and persons.
    """
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    searching = {"api_visibility": "private", "show_progress_on": [panel.listing]} | UNBOUNDED
    given = [clip, still]
    begun = [panel.shown_of, panel.boxes, panel.column, panel.note, panel.picture, panel.listing, panel.face]
    ended = [panel.found, panel.others, *panel.speeches]
    shown = [panel.column, panel.note, panel.picture, panel.listing, panel.face, *ended]
    first = gr.on(
        [clip.change, still.change],
        _first_frame_handler(service, num_outputs=len(begun + ended)),
        [*given, panel.shown_of],
        begun + ended,
        trigger_mode="always_last",
        **quiet,
    )
    chosen = {clip, still, panel.boxes, panel.face}
    first.then(_persons_handler(panel, clip, still, service), chosen, shown, **searching)
    announced = look.click(_announce, given, [panel.column, panel.listing], **quiet)
    announced.success(_persons_handler(panel, clip, still, service, is_asked=True), chosen, shown, **searching)
    panel.picture.select(_choose_face, [panel.boxes, panel.picture], panel.face, **quiet)
    panel.face.change(_show_speeches, [panel.found, panel.face], [panel.others, *panel.speeches], **quiet)


def _first_frame_handler(service: DubbingService, num_outputs: int) -> Any:
    def show_faces(clip: str | None, still: str | None, shown_of: str | None, request: gr.Request) -> list[Any]:
        """Offer the choice of a face where the first frame shows several; forget the persons of the clip before."""
        follow(request)
        session, given = str(request.session_hash), clip or still
        if given == shown_of:  # a picture that takes the clip's place changes both, and a choice may be made by then
            return [gr.skip()] * num_outputs
        service.stop_search(session)
        try:
            picture, boxes = service.find_faces(Path(given)) if given else (None, NO_FACES)
        except PersonaTalkError:  # the estimate says what is wrong with the clip
            picture, boxes = None, NO_FACES
        several, path = len(boxes) > 1, None
        if several and picture is not None:  # in a folder of the session, which is removed with it
            path = str(service.sessions.new_folder(session) / "faces.webp")
            iio.imwrite(path, picture)
        choices = [
            (said(strings.FACE_CHOICE).format(number=i + 1) + said(strings.FACE_LARGEST) * (i == 0), i)
            for i in range(len(boxes))
        ]
        return [
            given,
            boxes,
            gr.Column(visible=several),
            gr.Markdown(said(strings.FACES_NOTE)),
            gr.Image(path, visible=True),
            said(strings.FACES_SEARCH) if several else "",
            gr.Radio(choices, value=0 if choices else None, label=said(strings.FACES_LABEL)),
            None,
            *_show_speeches(None, None),
        ]

    return show_faces


def _persons_handler(
    panel: FacePanel, clip: gr.Video, still: gr.Image, service: DubbingService, *, is_asked: bool = False
) -> Any:
    """What looks the whole clip through: for a visitor who asked, or where the first frame shows several faces."""
    skipped = [gr.skip()] * (7 + len(panel.speeches))

    def show_persons(
        values: Values,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (tells Gradio that progress is shown)
    ) -> list[Any]:
        """List the persons; where they cannot be found, the choice by place stays."""
        follow(request)
        given, boxes = values[clip] or values[still], values[panel.boxes]
        if given is None or not (is_asked or len(boxes) > 1):
            return skipped
        path = Path(given)
        try:
            point = _point_of(path, boxes, values[panel.face])
            found = service.find_persons(path, point, str(request.session_hash), show_progress)
        except CancelledError:  # perhaps by another clip, whose panel it is now
            return [*skipped[:3], "", *skipped[4:]]
        except PersonaTalkError as error:
            if is_asked:
                show_error(error)
            return [gr.Column(visible=len(boxes) > 1), *skipped[:2], "", *skipped[4:]]
        return _with_persons(found)

    return show_persons


def _with_persons(found: ClipPersons) -> list[Any]:
    """Values of the panel that offer persons in place of faces of the first frame."""
    choices = [(name_of(number), number) for number in found.usable]
    return [
        gr.Column(visible=True),
        said(strings.PERSONS_NOTE) if choices else said(strings.NOBODY_USABLE),
        gr.Image(None, visible=False),
        as_html(found.persons),
        gr.Radio(choices, value=found.chosen, label=said(strings.PERSONS_LABEL)),
        found,
        *_show_speeches(found, found.chosen),
    ]


def _show_speeches(found: ClipPersons | None, chosen: int | None, request: gr.Request | None = None) -> list[Any]:
    """The uploads of those who are not chosen; each stays that of its person, and is emptied with the clip."""
    if request:
        follow(request)
    others, usable = other_persons(found, chosen), found.usable if found else []
    uploads: list[Any] = [gr.Accordion(visible=bool(others))]
    for place in range(MAX_SPEECHES):
        number = usable[place] if place < len(usable) else None
        if number is None:
            uploads.append(gr.Audio(None, visible=False))
        else:
            label = said(strings.SPEECH_OF_PERSON).format(number=number + 1)
            uploads.append(gr.Audio(label=label, visible=number in others))
    return uploads


def _announce(clip: str | None, still: str | None, request: gr.Request) -> list[Any]:
    follow(request)
    with errors_as_messages():
        if not (clip or still):
            raise MissingInputError(said(strings.CLIP_MISSING))
    return [gr.Column(visible=True), said(strings.FACES_SEARCH)]


def _choose_face(boxes: np.ndarray, picture: str, event: gr.SelectData) -> int:
    height, width = iio.improps(picture).shape[:2]
    return nearest_face(boxes, event.index[0] / width, event.index[1] / height)


def _point_of(clip: Path, boxes: Sequence[np.ndarray] | np.ndarray, face: int | None) -> tuple[float, float] | None:
    if face is None or face >= len(boxes):
        return None
    info = probe_clip(clip)
    return centre(boxes[face], info.width, info.height)


def name_of(number: int) -> str:
    """What the page calls a person; it counts from 1."""
    return said(strings.PERSON).format(number=number + 1)


def describe(person: ListedPerson) -> str:
    """Say for how long a person is seen, whether speaking, and why not usable."""
    words = [said(strings.PERSON_SEEN).format(time=strings.spoken_time(person.seconds))]
    words.append(said(strings.PERSON_SPEAKING if person.is_speaking else strings.PERSON_SILENT))
    if person.reason:
        words.append(said(strings.PERSON_UNUSABLE).format(reason=said(strings.REASONS[person.reason])))
    return ", ".join(words)


def as_html(persons: Sequence[ListedPerson]) -> str:
    """List persons with their pictures."""
    rows = []
    for person in persons:
        url = f"data:image/jpeg;base64,{base64.b64encode(person.picture).decode()}"
        picture = f'<img src="{url}" alt="" width="{PICTURE_PX}" height="{PICTURE_PX}">' if person.picture else ""
        words = f"<span><b>{escape(name_of(person.number))}</b> {escape(describe(person))}</span>"
        rows.append(f"<li{' data-unusable' * (person.reason is not None)}>{picture}{words}</li>")
    return f'<ul class="persons">{"".join(rows)}</ul>'
