"""The box for text that a voice speaks: another way to give the speech."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from personatalk.webapp import strings
from personatalk.webapp.languages import follow, on_page
from personatalk.webapp.messages import errors_as_messages
from personatalk.webapp.sessions import Sessions
from personatalk.webapp.text_to_speech import Voice

SOUND_NAME = "spoken_text.wav"


@dataclass(frozen=True, kw_only=True)
class TextBox:
    """The components, and the voice that speaks."""

    text: gr.Textbox
    speak: gr.Button
    voice: Voice


def add_text_box(voice: Voice) -> TextBox:
    """Lay the box and its button out."""
    text = gr.Textbox(
        value="",
        label=on_page(strings.TEXT_LABEL),
        info=f"{on_page(strings.VOICE_NOTE)} {voice.name}",
        lines=2,
        max_lines=6,
        elem_id="text",
    )
    speak = gr.Button(on_page(strings.SPEAK_BUTTON), size="sm", elem_id="speak")
    return TextBox(text=text, speak=speak, voice=voice)


def connect_text_box(box: TextBox, speech: gr.Audio, sessions: Sessions) -> None:
    """Speak the text where a speech would be uploaded, as a file of the visitor's session."""

    def speak(text: str, request: gr.Request) -> str:
        follow(request)
        with errors_as_messages():
            sound = sessions.new_folder(str(request.session_hash)) / SOUND_NAME
            box.voice.speak(text, sound)
        return str(sound)

    box.speak.click(speak, box.text, speech, api_visibility="private")
