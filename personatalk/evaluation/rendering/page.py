"""The report as a page: large frames, true and painted, what differs, which reference gave each pixel, and the table.

It shows faces of the clips that are judged, so it belongs beside them and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

import cv2
import numpy as np

from personatalk.evaluation.rendering.judging import RunTruth
from personatalk.evaluation.rendering.page_parts import PAGE, report_table
from personatalk.evaluation.rendering.windows import MethodOutput
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH
from personatalk.inspection.palette import PALETTE, mix_colours

OURS, WARPED = "ours", "nearest frame, warped"
GAIN = 2.4  # px of a picture for one of the window
PICTURE_WIDTH, PICTURE_HEIGHT = 480, 540
WINDOW_MIDDLE = (240.0, 342.0)  # px of the picture
BACKGROUND = (20, 23, 28)  # beyond the frame, as the page
AMPLIFIED = 4  # times, the difference
COLOUR_ALPHA = 0.65
LEAST_SHARE = 0.01  # of the pixels, under which a reference is not named
STRIP_FRAMES = slice(None, None, 2)  # of a run, in the rows of all methods
SHORT_COLUMNS = {
    "psnr_lips": "PSNR lips, dB",
    "lpips_lips": "LPIPS lips",
    "sharpness_lips": "sharpness",
    "flicker": "flicker",
    "identity": "identity",
}

picture_from_window = np.array(
    ((GAIN, 0, WINDOW_MIDDLE[0] - GAIN * WINDOW_WIDTH / 2), (0, GAIN, WINDOW_MIDDLE[1] - GAIN * WINDOW_HEIGHT / 2))
)


@dataclass(frozen=True, kw_only=True)
class ShownClip:
    """One clip on the page.

    Attributes:
        number: from 1.
        pictures: (file, caption) of the large frames.
        strips: file of the rows of all methods.
        methods: names of those rows.
        legend: (colour, text) of the references.
        figures: method to its figures in the run that is shown.
    """

    number: int
    pictures: list[tuple[str, str]]
    strips: str
    methods: list[str]
    legend: list[tuple[str, str]]
    figures: dict[str, dict[str, float]]


def draw_clip(
    folder: Path,
    number: int,
    truth: RunTruth,
    row: int,
    *,
    source: np.ndarray,
    painted: dict[str, MethodOutput],
    figures: dict[str, dict[str, float]],
) -> ShownClip:
    """Write the pictures of one frame of a judged run into a folder, which is made if need be.

    Args:
        folder: for the pictures.
        number: of the clip on the page.
        truth: the run.
        row: which of its frames.
        source: [H, W, 3] uint8, the true frame.
        painted: by each method.
        figures: of each method, in this run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    blended = {name: truth.blend(result) for name, result in painted.items()}
    scene = _Scene(truth, row, source)
    ours = scene.show(blended[OURS][row])
    true = scene.show(truth.images[row])
    drawn = {
        "true": (true, "true"),
        "warped": (scene.show(blended[WARPED][row]), "nearest frame, warped"),
        "ours": (ours, "ours"),
        "difference": (amplified_difference(ours, true), f"|ours − true|, {AMPLIFIED} times"),
    }
    legend = []
    if painted[OURS].rendering is not None:
        shares, frames = reference_shares(painted[OURS], row)
        colours = PALETTE[np.arange(len(frames)) % len(PALETTE)]
        coloured = scene.colour(mix_colours(shares, colours))
        drawn["attention"] = coloured, "which reference each pixel is from"
        legend = _legend(shares, frames, colours, int(truth.run[row]), truth.masks[row])
    pictures = [
        (_write(folder, f"clip_{number:02d}_{name}.png", picture), text) for name, (picture, text) in drawn.items()
    ]
    rows = {"true": truth.images, **blended}
    sheet = np.concatenate([np.concatenate(list(images[STRIP_FRAMES]), 1) for images in rows.values()])
    return ShownClip(
        number=number,
        pictures=pictures,
        strips=_write(folder, f"clip_{number:02d}_all.png", sheet),
        methods=list(rows),
        legend=legend,
        figures=figures,
    )


def amplified_difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[H, W, 3] uint8, how far two pictures differ, AMPLIFIED times; black where they do not."""
    difference = np.abs(first.astype(np.int16) - second) * AMPLIFIED
    return np.clip(difference, 0, 255).astype(np.uint8)


def reference_shares(painted: MethodOutput, row: int) -> tuple[np.ndarray, np.ndarray]:
    """What each reference frame gives to each pixel of a frame that a renderer painted.

    Returns:
        shares [R, H, W], sum to 1; frame numbers [R], ascending.
    """
    rendering = painted.rendering
    if rendering is None or painted.lip_frames is None or painted.face_frames is None:
        raise ValueError("this method has no references")
    gate = rendering.gate[row, 0].numpy()
    known = np.unique(np.concatenate([painted.lip_frames[row], painted.face_frames[row]]))
    shares = np.zeros((len(known), WINDOW_HEIGHT, WINDOW_WIDTH), np.float32)
    layers = ((rendering.lip, painted.lip_frames, gate), (rendering.face, painted.face_frames, 1 - gate))
    for sample, frames, given in layers:
        for weights, frame in zip(sample.weights[row].numpy(), frames[row], strict=True):
            large = cv2.resize(weights, (WINDOW_WIDTH, WINDOW_HEIGHT), interpolation=cv2.INTER_LINEAR)
            shares[np.searchsorted(known, frame)] += large * given
    return shares, known


def write_page(folder: Path, report: dict, shown: list[ShownClip]) -> None:
    """Write index.html into the folder of the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    clips = "\n".join(_clip_section(clip) for clip in shown)
    note = f"{report['clips']} clips judged, {report['skipped']} skipped, {len(shown)} shown below"
    (folder / "index.html").write_text(PAGE.substitute(note=note, table=report_table(report["table"]), clips=clips))


class _Scene:
    """One true frame, in which windows are shown large."""

    def __init__(self, truth: RunTruth, row: int, source: np.ndarray) -> None:
        # the window's place is always filled from a window, the true one too, so that none is finer than another
        picture_from_image = picture_from_window[:, :2] @ truth.clip.window[truth.run[row]]
        picture_from_image[:, 2] += picture_from_window[:, 2]
        self.base = _warp(source, picture_from_image, border=cv2.BORDER_CONSTANT)
        edge = _warp(truth.masks[row], picture_from_window)
        self.mask = np.clip(edge, 0, 1)[..., None]
        self.alpha = np.clip(4 * self.mask, 0, 1)

    def show(self, window: np.ndarray) -> np.ndarray:
        """[540, 480, 3] uint8, the head with a window [H, W, 3] uint8 in its place."""
        shown = self.base + self.alpha * (_warp(window, picture_from_window).astype(np.float32) - self.base)
        return np.clip(shown, 0, 255).round().astype(np.uint8)

    def colour(self, mixture: np.ndarray) -> np.ndarray:
        """The head in grey, with colours [H, W, 3] laid over what was rendered anew."""
        grey = cv2.cvtColor(self.base, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
        large = cv2.warpAffine(
            mixture.astype(np.float32),
            _for_cv2(picture_from_window),
            (PICTURE_WIDTH, PICTURE_HEIGHT),
            flags=cv2.INTER_LINEAR,
        )
        return np.clip(grey + self.mask * COLOUR_ALPHA * (large - grey), 0, 255).round().astype(np.uint8)


def _warp(image: np.ndarray, affine: np.ndarray, border: int = cv2.BORDER_REPLICATE) -> np.ndarray:
    size = (PICTURE_WIDTH, PICTURE_HEIGHT)
    return cv2.warpAffine(
        image, _for_cv2(affine), size, flags=cv2.INTER_CUBIC, borderMode=border, borderValue=BACKGROUND
    )


def _for_cv2(affine: np.ndarray) -> np.ndarray:
    """An affine [2, 3] whose first pixel centres lie at 0 instead of .5."""
    affine = affine.astype(np.float64)
    affine[:, 2] += affine[:, :2].sum(1) * 0.5 - 0.5
    return affine


def _legend(
    shares: np.ndarray, frames: np.ndarray, colours: np.ndarray, frame: int, mask: np.ndarray
) -> list[tuple[str, str]]:
    parts = (shares * mask).sum((1, 2)) / max(mask.sum(), 1e-6)
    return [
        (f"rgb({', '.join(map(str, colours[i]))})", f"{frames[i] - frame:+d} frames: {parts[i]:.0%}")
        for i in np.argsort(-parts)
        if parts[i] >= LEAST_SHARE
    ]


def _clip_section(clip: ShownClip) -> str:
    true = clip.pictures[0][0]
    pictures = []
    for file, text in clip.pictures:
        is_painted = text in (OURS, WARPED)
        # under the pointer a painted picture gives way to the true one
        below = f'<img class="below" src="{true}" alt="">' if is_painted else ""
        name = escape(text) + (" <i>(point at it: true)</i>" if is_painted else "")
        pictures.append(
            f'<figure><div class="frame">{below}<img src="{file}" alt=""></div><figcaption>{name}</figcaption></figure>'
        )
    legend = "".join(f'<span><b style="background:{colour}"></b>{escape(text)}</span>' for colour, text in clip.legend)
    chosen = {
        name: clip.figures[name] for name in (WARPED, OURS, f"{OURS}, stage 1's geometry") if name in clip.figures
    }
    strips = "".join(
        f'<figure><div style="background:url({clip.strips}) 0 -{WINDOW_HEIGHT * row}px"></div>'
        f"<figcaption>{escape(name)}</figcaption></figure>"
        for row, name in enumerate(clip.methods)
    )
    return f"""<section><h2>Clip {clip.number}</h2>
<div class="frames">{"".join(pictures)}</div>
<p class="legend">{legend}</p>
{_short_table(chosen)}
<details><summary>the lower face by every method, frames 1, 3 and 5 of the run</summary>
<div class="strips">{strips}</div></details></section>"""


def _short_table(rows: dict[str, dict[str, float]]) -> str:
    head = "".join(f"<th>{text}</th>" for text in ("", *SHORT_COLUMNS.values()))
    lines = [
        f"<tr><th>{escape(name)}</th>"
        + "".join(f"<td>{figures.get(key, float('nan')):.3g}</td>" for key in SHORT_COLUMNS)
        + "</tr>"
        for name, figures in rows.items()
    ]
    return f'<table class="short"><tr>{head}</tr>{"".join(lines)}</table>'


def _write(folder: Path, name: str, picture: np.ndarray) -> str:
    cv2.imwrite(str(folder / name), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return name
