"""Attention: how much of each pixel comes from each reference, and from where in it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH, window_from_image
from personatalk.geometry.mesh import MAP_STRIDE
from personatalk.geometry.rasterizer import rasterize
from personatalk.inspection.drawing import caption, heat, mark, new_figure, tiles, to_picture
from personatalk.inspection.palette import PALETTE, mix_colours
from personatalk.inspection.recording import KINDS, PICTURE_HEIGHT, PICTURE_WIDTH, SCALE, Attention, Inspection
from personatalk.inspection.references import bank, reference_colours

COLOUR_ALPHA = 0.65
TILE_WIDTH, TILE_HEIGHT, BAR_PX = 288, 240, 6
PASSED_THROUGH = "this frame was left as it is: no usable face"
GONE = "the reference video is gone"
LEAST_SHOWN = 0.005  # share of a pixel below which a reference is not shown
SHOWN_SHARES = 12  # references drawn one by one over time; the others are summed


@dataclass(frozen=True, kw_only=True)
class Source:
    """One place that a pixel of a dub was taken from.

    Attributes:
        kind: "lip" or "face".
        frame: of the reference video.
        weight: share of the pixel, 0..1; the shares of all places of a pixel sum to 1.
        x: px of the picture of the reference.
        y: px of the picture of the reference.
        offset: (x, y) px of that picture by which attention looked beside the mesh's correspondence.
    """

    kind: str
    frame: int
    weight: float
    x: float
    y: float
    offset: tuple[float, float]


def kinds_of(kind: str) -> tuple[str, ...]:
    """("lip",), ("face",), or both for "both"."""
    return KINDS if kind == "both" else (kind,)


def frame_colours(inspection: Inspection, t: int) -> dict[tuple[str, int], np.ndarray]:
    """A colour of its own, uint8 RGB, for each reference that attends at t: (kind, frame number) to colour."""
    parts = {kind: inspection.attention(t, kind) for kind in KINDS}
    names = [(kind, int(frame)) for kind, part in parts.items() if part for frame in sorted(set(part.frames.tolist()))]
    return {name: PALETTE[number % len(PALETTE)] for number, name in enumerate(names)}


def attended(inspection: Inspection, t: int, kind: str) -> dict[str, Attention]:
    """What the layers of a kind did at t, by name; empty where the source was passed through."""
    parts = {name: inspection.attention(t, name) for name in kinds_of(kind)}
    return {name: part for name, part in parts.items() if part is not None}


def mask_of(inspection: Inspection, t: int) -> np.ndarray:
    """[160, 192] in [0, 1]: the region of the window that is rendered."""
    posed, mesh, affine = inspection.posed, inspection.mesh, window_from_image(inspection.posed)[t]
    pose = posed.pose(t, inspection.driven_vertices[t], affine)
    index, _ = rasterize(mesh.project(pose), mesh.triangles, WINDOW_HEIGHT, WINDOW_WIDTH)
    return mesh.region(pose, index, inspection.source_vertices[t])


def attention_gallery(inspection: Inspection, t: int, kind: str) -> list[tuple[np.ndarray, str]]:
    """Show the weight map of each reference of a layer, above the reference itself; heaviest first.

    Args:
        inspection: a recorded run.
        t: position of the frame; the nearest that was kept is shown.
        kind: "lip" or "face".

    Returns:
        pictures [H, 288, 3] uint8 with captions; blue is no weight, yellow all of it. A bar below each reference has
        its colour in `attention_colours`. First the frame itself, and where in it the layer counts.
    """
    t = int(inspection.kept[inspection.row(t)])
    attention = inspection.attention(t, kind)
    window = _small(inspection.window(t))
    if attention is None:
        return [(window, PASSED_THROUGH)]
    mask = mask_of(inspection, t)
    region = mask[::MAP_STRIDE, ::MAP_STRIDE]
    given = region * attention.share
    share = given.sum() / region.sum()
    title = f"Face-Attention gives {share:.0%}\nof frame {t}: where (yellow)"
    if kind == "lip":
        title = f"Lip-Attention gives {share:.0%}\nof frame {t}: where (yellow)"
    shown = [(np.concatenate([window, _over(window, heat(_large(attention.share)), _large(mask))]), title)]
    colours = frame_colours(inspection, t)
    shares = (attention.weights * given).sum((1, 2)) / max(given.sum(), 1e-6)
    for number in np.argsort(-shares, kind="stable"):
        frame = int(attention.frames[number])
        heated = _over(window, heat(_large(attention.weights[number])), _large(mask))
        bar = np.full((BAR_PX, TILE_WIDTH, 3), colours[kind, frame], np.uint8)
        pair = np.concatenate([heated, _small(_reference_picture(inspection, frame)), bar])
        shown.append((pair, f"{shares[number]:.0%} of it from\nframe {frame}"))
    return shown


def attention_picture(inspection: Inspection, t: int, kind: str) -> np.ndarray:
    """Lay the pictures of `attention_gallery` out as one: [H, W, 3] uint8."""
    return tiles([caption(*shown) for shown in attention_gallery(inspection, t, kind)], 3)


def attention_colours(inspection: Inspection, t: int, kind: str = "both") -> np.ndarray:
    """Colour every pixel by its references, in proportion to their weights.

    Args:
        inspection: a recorded run.
        t: position of the frame.
        kind: "lip", "face" or "both".

    Returns:
        [480 and more, 576, 3] uint8: the window, `SCALE` times as large as the renderer's, and a legend below it.
    """
    t = int(inspection.kept[inspection.row(t)])
    window = inspection.window(t)
    parts = attended(inspection, t, kind)
    if not parts:
        return caption(window, PASSED_THROUGH)
    mixture, legend, known = np.zeros((1, 1, 3), np.float32), [], frame_colours(inspection, t)
    for name, attention in parts.items():
        colours = np.array([known[name, frame] for frame in attention.frames.tolist()])
        share = attention.share if kind == "both" else np.ones_like(attention.share)
        mixture = mixture + mix_colours(attention.weights * share, colours)
        legend += [(f"{name} {frame}", colour) for frame, colour in zip(attention.frames, colours, strict=True)]
    mixture = cv2.resize(mixture, (PICTURE_WIDTH, PICTURE_HEIGHT), interpolation=cv2.INTER_LINEAR)
    grey = np.repeat(cv2.cvtColor(window, cv2.COLOR_RGB2GRAY)[..., None], 3, 2).astype(np.float32)
    mask = cv2.resize(mask_of(inspection, t), (PICTURE_WIDTH, PICTURE_HEIGHT))[..., None]
    coloured = grey + mask * COLOUR_ALPHA * (mixture - grey)
    return np.concatenate([coloured.round().astype(np.uint8), _legend(dict(legend))])


def trace(inspection: Inspection, t: int, x: float, y: float, kind: str = "both") -> list[Source]:
    """Find the places in the references that a pixel of the dub was taken from.

    Args:
        inspection: a recorded run.
        t: position of the frame.
        x: px of the picture of `attention_colours`, first centre at 0.5.
        y: px of the same.
        kind: "lip", "face" or "both".

    Returns:
        heaviest first; empty where the pixel is the source's own.
    """
    t = int(inspection.kept[inspection.row(t)])
    column, row = int(x / SCALE), int(y / SCALE)
    is_inside = 0 <= column < WINDOW_WIDTH and 0 <= row < WINDOW_HEIGHT
    parts = attended(inspection, t, kind)
    if not is_inside or not parts or mask_of(inspection, t)[row, column] == 0:
        return []
    frames = np.concatenate([attention.frames for attention in parts.values()])
    grids = _correspondences(inspection, t, frames)[:, row, column]
    sources = []
    for name, attention in parts.items():
        places, grids = grids[: len(attention.frames)], grids[len(attention.frames) :]
        share = _at(attention.share, column, row) if kind == "both" else 1.0
        for place, frame, weight, offset in zip(
            places, attention.frames, attention.weights, attention.offsets, strict=True
        ):
            step = np.array([_at(part, column, row) for part in offset])
            found = (place + step) * SCALE
            sources.append(
                Source(
                    kind=name,
                    frame=int(frame),
                    weight=float(share * _at(weight, column, row)),
                    x=float(found[0]),
                    y=float(found[1]),
                    offset=(float(step[0] * SCALE), float(step[1] * SCALE)),
                )
            )
    return sorted(sources, key=lambda source: -source.weight)


def trace_pixel(inspection: Inspection, t: int, x: float, y: float, kind: str = "both") -> list[tuple[np.ndarray, str]]:
    """Show the places in the references that a pixel was taken from; arguments as of `trace`.

    Returns:
        pictures [480, 576, 3] uint8 with captions: the dub with the pixel marked, then the references, heaviest first.
    """
    t = int(inspection.kept[inspection.row(t)])
    x, y = min(max(x, 0.5), PICTURE_WIDTH - 0.5), min(max(y, 0.5), PICTURE_HEIGHT - 0.5)
    sources = [source for source in trace(inspection, t, x, y, kind) if source.weight >= LEAST_SHOWN]
    text = f"frame {t} of the dub" if sources else f"frame {t} of the dub: this pixel is the source's own"
    shown, colours = [(mark(inspection.window(t), x, y), text)], frame_colours(inspection, t)
    for source in sources:
        picture = _reference_picture(inspection, source.frame)
        picture = mark(picture, source.x, source.y, colours[source.kind, source.frame])
        dx, dy = (value / SCALE for value in source.offset)
        text = f"{source.weight:.0%} from {source.kind} frame {source.frame}, learnt step {dx:+.1f}, {dy:+.1f} px"
        shown.append((picture, text))
    return shown


def attention_over_time(inspection: Inspection, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Share of each of the clip's references in what a layer contributes, over time.

    Returns:
        kept positions [N]; shares [N, R] in the order of `references.bank`, rows sum to 1, 0 where passed through.
    """
    if kind not in inspection.shares:
        inspection.shares[kind] = _shares(inspection, kind)
    return inspection.kept, inspection.shares[kind]


def _shares(inspection: Inspection, kind: str) -> np.ndarray:
    known, posed, mesh = bank(inspection, kind), inspection.posed, inspection.mesh
    shares = np.zeros((len(inspection.kept), len(known)), np.float32)
    size = (WINDOW_HEIGHT // MAP_STRIDE, WINDOW_WIDTH // MAP_STRIDE)
    affines = window_from_image(posed) / np.float32(MAP_STRIDE)
    for row, t in enumerate(inspection.kept.tolist()):
        attention = inspection.attention(t, kind)
        if attention is not None:
            mask = mesh.mask(mesh.project(posed.pose(t, posed.template, affines[t])), posed.template, *size)
            given = (attention.weights * (mask * attention.share)).sum((1, 2))
            np.add.at(shares[row], np.searchsorted(known, attention.frames), given / max(given.sum(), 1e-6))
    return shares


def switching(inspection: Inspection, kind: str) -> float:
    """Mean share of a layer's weight that moves to other references from one frame to the next, 0 to 1.

    Half the sum of the shares' absolute changes. Between kept frames that are not neighbours the change is divided by
    their distance in frames, which makes it a lower bound.
    """
    positions, shares = attention_over_time(inspection, kind)
    is_rendered = shares.sum(1) > 0.5
    both = is_rendered[1:] & is_rendered[:-1]
    if not both.any():
        return float("nan")
    return float((np.abs(np.diff(shares, axis=0)).sum(1) / 2 / np.diff(positions))[both].mean())


def attention_over_time_picture(inspection: Inspection, t: int | None = None) -> np.ndarray:
    """Draw the shares of the references over time, a panel for each layer; a line marks t.

    Returns:
        [H, W, 3] uint8
    """
    figure, panels = new_figure(len(KINDS), height=2.4)
    for panel, kind in zip(panels, KINDS, strict=True):
        positions, shares = attention_over_time(inspection, kind)
        heaviest = np.sort(np.argsort(-shares.mean(0))[:SHOWN_SHARES])
        colours = np.concatenate([reference_colours(inspection, kind)[heaviest], PALETTE[-1:]]) / 255
        labels = [*(str(frame) for frame in bank(inspection, kind)[heaviest]), "others"]
        others = shares.sum(1) - shares[:, heaviest].sum(1)
        times = inspection.times[positions]
        panel.stackplot(
            times, [*shares[:, heaviest].T, others], colors=colours, labels=labels, edgecolor="white", linewidth=0.4
        )
        if t is not None:
            panel.axvline(inspection.times[t], color="black", linewidth=1.2)
        panel.set_ylim(0, 1)
        panel.set_ylabel("share")
        title = f"{kind} references, by frame; {switching(inspection, kind):.1%} of the weight changes per frame"
        panel.set_title(title, loc="left", fontsize=10)
        panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False, reverse=True)
    panels[-1].set_xlabel("time, s")
    return to_picture(figure)


def _reference_picture(inspection: Inspection, frame: int) -> np.ndarray:
    """[480, 576, 3] uint8: a reference's window; where it can no longer be had, a grey picture that says so."""
    picture = inspection.reference_picture(frame)
    if picture is not None:
        return picture
    grey = np.full((PICTURE_HEIGHT, PICTURE_WIDTH, 3), 200, np.uint8)
    return caption(grey, GONE)[-PICTURE_HEIGHT:]


def _correspondences(inspection: Inspection, t: int, frames: np.ndarray) -> np.ndarray:
    """[R, 160, 192, 2] px of the references' windows."""
    mesh, posed, reference = inspection.mesh, inspection.posed, inspection.reference
    projected = mesh.project(posed.pose(t, inspection.driven_vertices[t], window_from_image(posed)[t]))
    affines = window_from_image(reference)
    places = [
        mesh.project(reference.pose(i, inspection.reference_vertices[i], affines[i]))[:, :2] for i in frames.tolist()
    ]
    return mesh.correspondence(projected, np.stack(places), WINDOW_HEIGHT, WINDOW_WIDTH)


def _at(values: np.ndarray, column: int, row: int) -> float:
    """Read a map at 1/4 of the window at a pixel of the window, bilinearly, as the renderer does."""
    place = (np.array((column, row), np.float32) + 0.5) / MAP_STRIDE - 0.5
    x, y = np.clip(place, 0, (values.shape[1] - 1, values.shape[0] - 1))
    return float(cv2.getRectSubPix(np.ascontiguousarray(values, np.float32), (1, 1), (float(x), float(y)))[0, 0])


def _small(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, (TILE_WIDTH, TILE_HEIGHT), interpolation=cv2.INTER_AREA)


def _large(values: np.ndarray) -> np.ndarray:
    return cv2.resize(values.astype(np.float32), (TILE_WIDTH, TILE_HEIGHT), interpolation=cv2.INTER_LINEAR)


def _over(window: np.ndarray, heated: np.ndarray, mask: np.ndarray) -> np.ndarray:
    grey = np.repeat(cv2.cvtColor(window, cv2.COLOR_RGB2GRAY)[..., None], 3, 2) * 0.9
    return (grey + (0.75 * mask[..., None]) * (heated - grey)).round().astype(np.uint8)


def _legend(entries: dict[str, np.ndarray]) -> np.ndarray:
    """A row of colour fields with names, as wide as the picture."""
    width = PICTURE_WIDTH // 4
    fields = [caption(np.full((10, width - 6, 3), colour, np.uint8), name) for name, colour in entries.items()]
    sheet = tiles(fields, 4)
    blank = np.full((sheet.shape[0], PICTURE_WIDTH, 3), 255, np.uint8)
    blank[:, : sheet.shape[1]] = sheet[:, :PICTURE_WIDTH]
    return blank
