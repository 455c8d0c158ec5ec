"""What a run says, in a visitor's words: errors and summaries without the names of folders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personatalk.errors import PersonaTalkError
from personatalk.webapp import strings

if TYPE_CHECKING:
    from personatalk.pipeline import DubbingResult

AT_REST = 0.002  # IOD by which the mouth's openness varies at least where anybody speaks


@contextmanager
def in_visitors_words(files: dict[Path, str]) -> Iterator[None]:
    """Call files in errors what the page calls them, not where the server keeps them.

    Args:
        files: path to name.

    Raises:
        PersonaTalkError: of the same kind, its message changed.
    """
    try:
        yield
    except PersonaTalkError as error:
        message = str(error)
        for path, name in files.items():
            message = message.replace(str(path), strings.THE.format(kind=name))
        if message.partition(" ")[0].isalpha():  # no file's name
            message = message[:1].upper() + message[1:]
        raise type(error)(message) from error


def without_folders(report: dict[str, Any]) -> dict[str, Any]:
    """Take the server's folders out of a report that a visitor gets: of a file only its name stays."""
    options = report.get("options", {})
    names = {key: Path(options[key]).name for key in ("style_video", "reference_video") if options.get(key)}
    return report | ({"options": options | names} if names else {})


def summarise(result: DubbingResult) -> str:
    """Say in a few lines what was done, how long it took, and what a visitor may not have meant."""
    seconds = sum(result.timings.values())
    lines = [strings.SUMMARY.format(frames=result.num_frames, fps=result.fps, seconds=seconds)]
    if result.num_passed_through:
        lines.append(strings.SUMMARY_PASSED.format(count=result.num_passed_through))
    if result.report.get("lip_aperture", {}).get("deviation", 1.0) < AT_REST:
        lines.append(strings.SUMMARY_SILENT)
    return "\n".join(lines)
