"""What the page says of a run: errors and summaries that name files as the page does, not by the server's paths."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personatalk.errors import PersonaTalkError
from personatalk.webapp import strings

if TYPE_CHECKING:
    from personatalk.pipeline import DubbingResult

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
            message = message.replace(str(path), strings.THE.format(kind=name))
        if message.partition(" ")[0].isalpha():  # a word rather than a file's name
            message = message[:1].upper() + message[1:]
        raise type(error)(message) from error


def without_folders(report: dict[str, Any]) -> dict[str, Any]:
    """Keep only the names of the files in a report that a visitor gets."""
    options = report.get("options", {})
    names = {key: Path(options[key]).name for key in ("style_video", "reference_video") if options.get(key)}
    return report | ({"options": options | names} if names else {})


def summarise(result: DubbingResult) -> str:
    """Say in a few lines what was done, how long it took, and what a visitor may not have meant."""
    seconds = sum(result.timings.values())
    lines = [strings.SUMMARY.format(frames=result.num_frames, fps=result.fps, seconds=seconds)]
    if result.num_passed_through:
        lines.append(strings.SUMMARY_PASSED.format(count=result.num_passed_through))
    if result.report.get("lip_aperture", {}).get("deviation", 1.0) < SILENT_DEVIATION:
        lines.append(strings.SUMMARY_SILENT)
    return "\n".join(lines)
