"""Speaking style: this speaker among others, motion on the face, and lip aperture beside the speech."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.errors import CheckpointError
from personatalk.geometry.face_model import NUM_VERTICES
from personatalk.geometry.mouth import lip_aperture, mouth_width
from personatalk.geometry.rasterizer import interpolate, rasterize
from personatalk.geometry_construction.style import Style, style_of
from personatalk.inspection.drawing import (
    DRIVEN_COLOUR,
    GREY,
    SOURCE_COLOUR,
    blend,
    caption,
    heat,
    legend_above,
    new_figure,
    shade,
    tiles,
    to_picture,
)
from personatalk.inspection.geometry import skin_triangles
from personatalk.inspection.recording import Inspection

STYLE_MAP_FILE = "style_map.safetensors"
TRAITS = (
    "mean lip aperture",
    "deviation of lip aperture",
    "mean mouth width beyond rest",
    "deviation of mouth width",
    "lips drawn back",
    "lips lowered",
)
SAMPLE_RATE, LEVEL_HZ = 16000, 100
SILENCE_DB = 35.0  # below the 90th percentile of the level
FLOOR_DB = -80.0
FACE_PX, FACE_SCALE, FACE_CENTRE = 340, 158.0, (0.0, 0.38)  # px, px per IOD, IOD
SHOWN_MOTION = 0.06  # IOD that is drawn brightest


@dataclass(frozen=True, kw_only=True)
class StyleMap:
    """The plane on which speaking styles are shown: the first two principal axes of the training speakers.

    Attributes:
        mean: [D] of the speakers' style vectors.
        axes: [2, D] unit vectors of the largest variance.
        points: [N, 2] the training speakers, without names.
        variance: [2] share of the speakers' variance along each axis.
        correlation: [2, 6] of each axis with the traits over the speakers; see TRAITS.
    """

    mean: np.ndarray
    axes: np.ndarray
    points: np.ndarray
    variance: np.ndarray
    correlation: np.ndarray

    def project(self, vectors: np.ndarray) -> np.ndarray:
        """Project style vectors [..., D] onto the plane: [..., 2]."""
        return (vectors - self.mean) @ self.axes.T

    def explain(self) -> list[str]:
        """Describe each axis by the traits that it correlates with most."""
        said = []
        for number in range(2):
            order = np.argsort(-np.abs(self.correlation[number]))
            along = self.correlation[number]
            first, second = (f"{'more' if along[i] > 0 else 'less'} {TRAITS[i]} (r {along[i]:+.2f})" for i in order[:2])
            direction, share = "to the right" if number == 0 else "up", self.variance[number]
            said.append(
                f"axis {number + 1}, {share:.0%} of the differences between speakers; {direction}: {first}, {second}"
            )
        return said

    def save(self, path: Path) -> None:
        """Write the map, in half precision."""
        save_file({f.name: getattr(self, f.name).astype(np.float16) for f in fields(self)}, path)

    @classmethod
    def load(cls, path: Path = DEFAULT_FOLDER / STYLE_MAP_FILE) -> StyleMap:
        """Read a map.

        Raises:
            CheckpointError: the file is missing or holds something else.
        """
        if not path.is_file():
            raise CheckpointError(f"missing style map: {path}; restore it, or run `personatalk train style-map`")
        tensors = load_file(path)
        if missing := {field.name for field in fields(cls)} - tensors.keys():
            raise CheckpointError(f"{path} is no style map: it lacks {sorted(missing)}")
        return cls(**{field.name: tensors[field.name].astype(np.float32) for field in fields(cls)})


def style_vector(style: Style) -> np.ndarray:
    """[D] what the map compares: mean and deviation of the style vertices, without the face's shape."""
    return np.concatenate([style.vertex_mean.numpy().ravel(), style.vertex_deviation.numpy().ravel()])


@dataclass(frozen=True, kw_only=True)
class StylePlace:
    """A clip's position among the training speakers.

    Attributes:
        speakers: [N, 2] the training speakers.
        source: [2] the speaker's style, as the run estimated it.
        driven: [2] the style of the driven geometry.
        axes: descriptions of the axes.
    """

    speakers: np.ndarray
    source: np.ndarray
    driven: np.ndarray
    axes: list[str]


def style_map(inspection: Inspection, known: StyleMap | None = None) -> StylePlace:
    """Find the clip's position among the training speakers, on the shipped map unless another is given."""
    known = known or StyleMap.load()
    posed = inspection.posed
    driven = style_of(posed.expression, posed.valid, posed.template, inspection.face_model)
    return StylePlace(
        speakers=known.points,
        source=known.project(style_vector(inspection.style)),
        driven=known.project(style_vector(driven)),
        axes=known.explain(),
    )


def style_map_picture(inspection: Inspection, known: StyleMap | None = None) -> np.ndarray:
    """Draw the map: training speakers in grey, this speaker and the driven geometry in colour.

    Returns:
        [H, W, 3] uint8
    """
    place = style_map(inspection, known)
    figure, panels = new_figure(1, width=7, height=5)
    panel = panels[0]
    panel.scatter(*place.speakers.T, s=14, color="#b4b4b4", label=f"{len(place.speakers)} training speakers")
    panel.annotate("", tuple(place.driven), tuple(place.source), arrowprops={"arrowstyle": "->", "color": "black"})
    panel.scatter(*place.source, s=150, marker="*", color=SOURCE_COLOUR, edgecolors="black", label="this speaker")
    panel.scatter(*place.driven, s=90, marker="D", color=DRIVEN_COLOUR, edgecolors="black", label="driven geometry")
    legend_above(panel)
    panel.set_xlabel(_in_lines(place.axes[0], 90), fontsize=9)
    panel.set_ylabel(_in_lines(place.axes[1], 50), fontsize=9)
    return to_picture(figure)


def _in_lines(text: str, width: int) -> str:
    """Break a description so that no line is longer than its axis."""
    return "\n".join(line for part in text.split("; ") for line in textwrap.wrap(part, width))


def style_on_face(inspection: Inspection) -> np.ndarray:
    """Draw mean and deviation of the expression on the face, source above and driven below.

    Returns:
        [H, W, 3] uint8; grey is no motion, yellow a motion of `SHOWN_MOTION` IOD or more.
    """
    model, template = inspection.face_model, inspection.posed.template
    shown = []
    for name, geometry in (("source", inspection.source), ("driven", inspection.posed)):
        speech = geometry.expression[geometry.valid][:, : model.num_speech]
        moved = np.einsum("tk,kvc->tvc", speech, model.speech_basis)
        mean, deviation = moved.mean(0), moved.std(0)
        for what, values, at in (("mean", mean, template + mean), ("deviation", deviation, template)):
            size = np.linalg.norm(values, axis=-1)
            picture = _paint(inspection, at, size / SHOWN_MOTION)
            shown.append(caption(picture, f"{name}: {what}\nup to {size.max():.3f} IOD"))
    return np.concatenate([tiles(shown, 2), _scale(2 * FACE_PX + 6)])


def aperture_curves(inspection: Inspection) -> dict[str, np.ndarray]:
    """Lip aperture and mouth width over time, beside the level of the speech.

    Returns:
        time_s, driven_aperture, source_aperture, driven_width, source_width (IOD), level_db (below full scale) and
        is_silent; [T] each.
    """
    level = voice_level(inspection.waveform)
    at = np.clip((inspection.times * LEVEL_HZ).astype(int), 0, len(level) - 1)
    has_sound = inspection.times <= len(inspection.waveform) / SAMPLE_RATE
    level_db = np.where(has_sound, level[at], FLOOR_DB)
    driven, source = inspection.driven_vertices, inspection.source_vertices
    return {
        "time_s": inspection.times,
        "driven_aperture": lip_aperture(driven),
        "source_aperture": lip_aperture(source),
        "driven_width": mouth_width(driven),
        "source_width": mouth_width(source),
        "level_db": level_db,
        "is_silent": level_db < max(np.quantile(level, 0.9) - SILENCE_DB, FLOOR_DB + 1),
    }


def aperture_picture(inspection: Inspection, t: int | None = None) -> np.ndarray:
    """Draw lip aperture and mouth width over time above the waveform, silence shaded; a line marks t.

    Returns:
        [H, W, 3] uint8
    """
    curves = aperture_curves(inspection)
    figure, panels = new_figure(3)
    for panel, (name, label) in zip(panels, (("aperture", "lip aperture"), ("width", "mouth width")), strict=False):
        panel.plot(curves["time_s"], curves[f"source_{name}"], color=SOURCE_COLOUR, linewidth=1.2, label="source")
        panel.plot(curves["time_s"], curves[f"driven_{name}"], color=DRIVEN_COLOUR, linewidth=1.8, label="driven")
        panel.set_ylabel(f"{label}, IOD")
    step = max(1, len(inspection.waveform) // 700)
    count = len(inspection.waveform) // step
    blocks = inspection.waveform[: count * step].reshape(count, step)
    panels[2].fill_between(
        np.arange(count) * step / SAMPLE_RATE, blocks.min(1), blocks.max(1), color=GREY, linewidth=0, label="speech"
    )
    panels[2].set_ylabel("new speech")
    half = np.median(np.diff(curves["time_s"])) / 2
    for panel in panels:
        for start, end in runs(curves["is_silent"]):
            name = "silence" if panel is panels[2] and start == runs(curves["is_silent"])[0][0] else None
            panel.axvspan(
                curves["time_s"][start] - half,
                curves["time_s"][end - 1] + half,
                color="#56B4E9",
                alpha=0.22,
                linewidth=0,
                label=name,
            )
        if t is not None:
            panel.axvline(inspection.times[t], color="black", linewidth=1)
        legend_above(panel)
    panels[2].set_xlim(curves["time_s"][0] - half, curves["time_s"][-1] + half)
    panels[2].set_xlabel("time, s")
    return to_picture(figure)


def voice_level(waveform: np.ndarray) -> np.ndarray:
    """[N] dB relative to full scale, 100 values per second, each over 40 ms."""
    hop = SAMPLE_RATE // LEVEL_HZ
    energy = np.concatenate([[0.0], np.cumsum(np.square(waveform, dtype=np.float64))])
    centres = np.arange(max(1, len(waveform) // hop)) * hop + hop // 2
    start, end = np.clip(centres - 2 * hop, 0, len(waveform)), np.clip(centres + 2 * hop, 0, len(waveform))
    power = (energy[end] - energy[start]) / np.maximum(end - start, 1)
    return np.maximum(10 * np.log10(power + 1e-12), FLOOR_DB)


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Runs of true flags: (first, one past the last) of each."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(flags, np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _paint(inspection: Inspection, vertices: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Draw a face from the front, coloured by values [V] in [0, 1], with diffuse light."""
    triangles = skin_triangles(inspection)
    projected = (vertices - (*FACE_CENTRE, 0)) * FACE_SCALE + (FACE_PX / 2, FACE_PX / 2, 0)
    projected = np.ascontiguousarray(projected[:NUM_VERTICES], np.float32)
    index, barycentric = rasterize(projected, triangles, FACE_PX, FACE_PX)
    value = interpolate(index, barycentric, triangles, np.ascontiguousarray(values[:, None], np.float32))[0]
    grey, alpha = shade(projected, triangles, FACE_PX, FACE_PX)
    light = grey.mean(-1, keepdims=True) / np.float32(235)
    painted = np.clip(heat(value) * (0.5 + 0.6 * light), 0, 255).astype(np.uint8)
    return blend(np.full_like(grey, 255), blend(grey, painted, np.clip(4 * value, 0, 1)), alpha)


def _scale(width: int) -> np.ndarray:
    bar = np.repeat(heat(np.linspace(0, 1, width))[None], 14, 0)
    return caption(
        bar,
        f"grey: no motion; yellow: {SHOWN_MOTION} IOD or more\n(IOD: distance of the outer eye corners)",
    )
