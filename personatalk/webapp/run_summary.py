"""What the page says of a run: errors and summaries that name files as the page does, not by the server's paths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personatalk.errors import PersonaTalkError
from personatalk.webapp import strings

if TYPE_CHECKING:
    from personatalk.pipeline import DubbingResult
    from personatalk.speech.sync_network import Synchrony
    from personatalk.webapp.clip_judgement import ClipFacts

SYNC_TOLERANCE_S = 0.045  # ITU-R BT.1359: sound that comes earlier than this before the picture is noticed
LEAST_PAINTED = 0.01  # share of frames that is worth a line
SILENT_DEVIATION = 0.002  # IOD; the lip aperture of anybody who speaks deviates by more


@contextmanager
def name_files_as_the_page_does(names: dict[Path, str]) -> Iterator[None]:
    """Replace the server's paths in errors.

    Args:
        names: what the page calls each path.

    Raises:
        PersonaTalkError: of the same kind, its message changed.
    """
    try:
        yield
    except PersonaTalkError as error:
        message = str(error)
        for path, name in names.items():
            message = message.replace(str(path), name)
        if message.partition(" ")[0].isalpha():  # a word rather than a file's name
            message = message[:1].upper() + message[1:]
        raise type(error)(message) from error


def without_folders(report: dict[str, Any]) -> dict[str, Any]:
    """Keep only the names of the files in a report that a visitor gets."""
    options = report.get("options", {})
    names = {key: Path(options[key]).name for key in ("style_video", "reference_video") if options.get(key)}
    return report | ({"options": options | names} if names else {})


def summarise(
    result: DubbingResult,
    synchronies: Sequence[Synchrony | None] = (),
    *,
    facts: Sequence[ClipFacts] = (),
) -> str:
    """Say in a few lines what was done, how well, how long it took, and what a visitor may not have meant.

    Args:
        result: of the dub.
        synchronies: of each face with its speech; None where it could not be measured. Empty where nobody tried.
        facts: of each face in the clip, for warnings where the result is likely poor.
    """
    seconds = sum(result.timings.values())
    lines = [strings.SUMMARY.format(frames=result.num_frames, fps=result.fps, seconds=seconds)]
    faces = result.report.get("faces", [{"num_passed_through": result.num_passed_through}])
    for place, face in enumerate(faces):
        told = [describe_synchrony(each) for each in synchronies[place : place + 1]]
        lines += [_of_person(text, face) for text in told + describe_face(result.report | face)]
    hints = result.report.get("hints", [])
    lines += [strings.WARNING.format(text=hint) for hint in hints]
    if not hints and result.report.get("lip_aperture", {}).get("deviation", 1.0) < SILENT_DEVIATION:
        lines.append(strings.WARNING.format(text=strings.SUMMARY_SILENT))
    for face, found in zip(faces, facts, strict=False):
        lines += [strings.WARNING.format(text=_of_person(text, face)) for text in found.warnings()]
    return "\n".join(lines)


def _of_person(text: str, face: dict[str, Any]) -> str:
    """Say whom of several a sentence is about; `face` is its part of the report."""
    return strings.SUMMARY_OF_PERSON.format(number=face["face"] + 1, text=text) if "face" in face else text


def describe_face(report: dict[str, Any]) -> list[str]:
    """Say of one face whose style it speaks in, and in which frames it was left as it was, wholly or in part."""
    lines = [describe_style(report)] if "speaker_calibration" in report else []
    if report["num_passed_through"]:
        lines.append(strings.SUMMARY_PASSED.format(count=report["num_passed_through"]))
    if left := [shot for shot in report.get("shots", ()) if not shot["shows_the_person"]]:
        lines.append(strings.SUMMARY_SHOTS.format(count=len(left)))
    if hidden := report.get("num_occluded"):
        lines.append(strings.SUMMARY_OCCLUDED.format(count=hidden))
    if (painted := report.get("painted_share", 0.0)) >= LEAST_PAINTED:
        lines.append(strings.SUMMARY_PAINTED.format(share=painted))
    return lines


def describe_synchrony(synchrony: Synchrony | None) -> str:
    """Say how well lips and sound of a dub fit."""
    if synchrony is None:
        return strings.SUMMARY_NOT_JUDGED
    offset = strings.SYNC_EARLY if synchrony.offset_s < 0 else strings.SYNC_LATE
    text = strings.SUMMARY_IN_SYNC if abs(synchrony.offset_s) <= SYNC_TOLERANCE_S else strings.SUMMARY_OFF_SYNC
    if not synchrony.in_sync:
        text = strings.SUMMARY_NO_SYNC
    return text.format(offset=offset.format(ms=abs(1000 * synchrony.offset_s)), confidence=synchrony.confidence)


def describe_style(report: dict[str, Any]) -> str:
    """Say how much of the speaking style is the person's own, and what it rests on."""
    strength, spoken = report["options"]["style_strength"], report["speaker_calibration"]["calibrated_on_s"]
    if strength == 0:
        return strings.SUMMARY_STYLE_AVERAGE
    is_other = report["options"].get("style_video") or report["options"].get("reference_video")
    whose = strings.STYLE_OTHER if is_other else strings.STYLE_OWN
    if strength != 1:
        return strings.SUMMARY_STYLE_SCALED.format(whose=whose, strength=strength)
    if spoken:
        return strings.SUMMARY_STYLE.format(whose=whose, seconds=strings.spoken_time(spoken))
    return strings.SUMMARY_STYLE_PICTURE.format(whose=whose)
