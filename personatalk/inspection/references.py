"""References: which frames were chosen and why, and what other strategies would choose."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from personatalk.errors import MediaError
from personatalk.face_rendering.reference_selection import select_lip_references
from personatalk.geometry.mouth import lip_aperture, mouth_width
from personatalk.inspection.drawing import (
    DRIVEN_COLOUR,
    GREY,
    SOURCE_COLOUR,
    legend_above,
    new_figure,
    to_picture,
)
from personatalk.inspection.palette import PALETTE
from personatalk.inspection.recording import PICTURE_HEIGHT, PICTURE_WIDTH, Inspection, read_chosen_frames

MAX_SHOWN = 16
STRATEGIES = {
    "coverage": "so that every driven mouth has a near one",
    "paper": "evenly by lip aperture",
    "random": "at random",
    "nearest": "nearest to the mean of the driven mouths",
}


def bank(inspection: Inspection, kind: str) -> np.ndarray:
    """[R] frame numbers of the clip's references of a kind, "lip" or "face", in order of time."""
    return np.sort(inspection.lip_bank if kind == "lip" else inspection.face_bank)


def reference_colours(inspection: Inspection, kind: str) -> np.ndarray:
    """[R, 3] uint8: a colour for each of the clip's references, the same in every picture."""
    count = len(bank(inspection, kind))
    shift = 0 if kind == "lip" else 5
    cycle = PALETTE[:-1].astype(np.float32)
    rounds = np.arange(count) // len(cycle)
    step = min(0.22, 0.66 / max(1, rounds[-1]))  # the same hues come back, darker each time
    colours = cycle[(np.arange(count) + shift) % len(cycle)] * (1 - step * rounds)[:, None]
    return colours.round().astype(np.uint8)


def reference_table(inspection: Inspection, kind: str, frames: np.ndarray | None = None) -> list[dict]:
    """Describe the references of a kind, in order of time.

    Args:
        inspection: a recorded run.
        kind: "lip" or "face".
        frames: other frame numbers, such as another strategy's; the run's own where None.

    Returns:
        rows of frame, time_s, lip_aperture and mouth_width (IOD), share of the driven mouths to which it is the
        nearest reference, and the mean distance (IOD) to those.
    """
    frames = bank(inspection, kind) if frames is None else frames
    vertices, times = inspection.reference_vertices[frames], inspection.reference.times
    distance = cdist(inspection.available[frames], inspection.target_descriptors)
    nearest = distance.argmin(0)
    rows = []
    for number, frame in enumerate(frames):
        near = distance[number, nearest == number]
        rows.append(
            {
                "frame": int(frame),
                "time_s": float(times[frame] - times[0]),
                "lip_aperture": float(lip_aperture(vertices[number])),
                "mouth_width": float(mouth_width(vertices[number])),
                "share": float((nearest == number).mean()),
                "distance": float(near.mean()) if len(near) else float(distance[number].min()),
            }
        )
    return rows


def reference_gallery(inspection: Inspection, kind: str, strategy: str | None = None) -> list[tuple[np.ndarray, str]]:
    """Show references of a kind, 16 at most, each with the reason for which it was chosen.

    Of more lip references, those are shown that are nearest to most of the driven mouths; of more face references,
    evenly spaced ones.

    Args:
        inspection: a recorded run.
        kind: "lip" or "face".
        strategy: show what this strategy would choose for the lips; the run's own choice where None.

    Returns:
        pictures [480, 576, 3] uint8 with captions, in order of time.

    Raises:
        MediaError: the reference video, from which another strategy's frames are read, is gone.
    """
    frames = bank(inspection, kind) if strategy is None else choose(inspection, strategy)
    rows = reference_table(inspection, kind, frames)
    if kind == "lip":
        rows = sorted(sorted(rows, key=lambda row: -row["share"])[:MAX_SHOWN], key=lambda row: row["frame"])
    else:
        rows = [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, MAX_SHOWN).astype(int))]
    pictures = _pictures(inspection, np.array([row["frame"] for row in rows]))
    chosen = strategy or inspection.report.get("options", {}).get("reference_strategy", "coverage")
    gallery = []
    for row in rows:
        text = f"frame {row['frame']} at {row['time_s']:.2f} s, aperture {row['lip_aperture']:.2f}"
        if kind == "lip" and row["share"]:
            text = f"{text}; nearest to {row['share']:.0%} of driven mouths ({row['distance']:.3f} IOD)"
        elif kind == "lip":
            text = f"{text}; chosen {STRATEGIES[chosen]} ({row['distance']:.3f} IOD)"
        gallery.append((pictures[row["frame"]], text))
    return gallery


def choose(inspection: Inspection, strategy: str) -> np.ndarray:
    """[R] frame numbers that a strategy would choose for the lips of this dub."""
    valid = np.flatnonzero(inspection.reference.valid)
    chosen = select_lip_references(
        inspection.available[valid],
        inspection.target_descriptors,
        len(inspection.lip_bank),
        strategy=strategy,
        aperture=lip_aperture(inspection.reference_vertices[valid]),
    )
    return valid[chosen]


def distances_to_nearest(inspection: Inspection, frames: np.ndarray) -> np.ndarray:
    """Distance from each driven mouth to the nearest of some references.

    Args:
        inspection: a recorded run.
        frames: [R] frame numbers of the references.

    Returns:
        [T] IOD; NaN where the output shows no face
    """
    distances = np.full(inspection.num_frames, np.nan)
    distances[inspection.posed.valid] = cdist(inspection.available[frames], inspection.target_descriptors).min(0)
    return distances


def compare_strategies(inspection: Inspection) -> list[dict]:
    """Compare the strategies without rendering.

    Returns:
        rows of strategy, how it chooses, mean and 95th percentile of the distance (IOD) from the driven mouths to
        their nearest reference, the range of lip aperture, and how many frames it shares with the run.
    """
    own, rows = set(inspection.lip_bank.tolist()), []
    for strategy, reason in STRATEGIES.items():
        frames = choose(inspection, strategy)
        nearest = distances_to_nearest(inspection, frames)[inspection.posed.valid]
        opening = lip_aperture(inspection.reference_vertices[frames])
        rows.append(
            {
                "strategy": strategy,
                "chooses": reason,
                "mean_distance": float(nearest.mean()),
                "p95_distance": float(np.quantile(nearest, 0.95)),
                "min_aperture": float(opening.min()),
                "max_aperture": float(opening.max()),
                "shared_frames": len(own & set(frames.tolist())),
            }
        )
    return rows


def strategy_picture(inspection: Inspection) -> np.ndarray:
    """Show what each strategy chooses among the clip's mouths, beside the driven ones.

    Returns:
        [H, W, 3] uint8
    """
    figure, panels = new_figure(4, width=6.4, height=2.1)
    valid = np.flatnonzero(inspection.reference.valid)
    there, asked = inspection.reference_vertices[valid], inspection.driven_vertices[inspection.posed.valid]
    for panel, row in zip(panels, compare_strategies(inspection), strict=True):
        chosen = inspection.reference_vertices[choose(inspection, row["strategy"])]
        panel.scatter(mouth_width(there), lip_aperture(there), s=10, color="#c4c4c4", label="in the clip")
        panel.scatter(mouth_width(asked), lip_aperture(asked), s=10, color=DRIVEN_COLOUR, alpha=0.5, label="driven")
        panel.scatter(
            mouth_width(chosen),
            lip_aperture(chosen),
            s=46,
            facecolors="none",
            edgecolors=SOURCE_COLOUR,
            linewidths=2,
            label="chosen",
        )
        panel.set_title(f"{row['strategy']}: mean distance {row['mean_distance']:.3f} IOD", loc="left", fontsize=10)
        panel.set_ylabel("lip aperture, IOD")
    legend_above(panels[0])
    panels[-1].set_xlabel("mouth width, IOD (distance of the outer eye corners)")
    return to_picture(figure)


def reference_timeline(inspection: Inspection) -> np.ndarray:
    """Show where in the clip the references lie, on the curve of the lip aperture.

    Returns:
        [H, W, 3] uint8
    """
    figure, panels = new_figure(1, height=2.6)
    panel = panels[0]
    times = inspection.reference.times - inspection.reference.times[0]
    opening = lip_aperture(inspection.reference_vertices)
    panel.plot(times, opening, color=GREY, linewidth=1.2, label="lip aperture in the reference video")
    for kind, marker, offset in (("lip", "o", 0.0), ("face", "s", -0.1)):
        frames = bank(inspection, kind)
        heights = opening[frames] if kind == "lip" else np.full(len(frames), offset * opening.max())
        colours = reference_colours(inspection, kind) / 255
        panel.scatter(times[frames], heights, c=colours, marker=marker, s=55, edgecolors="black", zorder=3)
        panel.scatter([], [], c="white", edgecolors="black", marker=marker, s=45, label=f"{kind} references")
    panel.set_ylabel("lip aperture, IOD")
    panel.set_xlabel("time in the reference video, s")
    legend_above(panel)
    return to_picture(figure)


def _pictures(inspection: Inspection, frames: np.ndarray) -> dict[int, np.ndarray]:
    """The window of each frame; those that were not recorded are read from the reference video."""
    found = {int(frame): inspection.reference_picture(int(frame)) for frame in frames}
    missing = {frame for frame, picture in found.items() if picture is None}
    if missing:
        if not inspection.reference_video.is_file():
            raise MediaError(f"{inspection.reference_video} is gone; its frames {sorted(missing)} cannot be shown")
        for frame, image in read_chosen_frames(inspection.reference_video, missing).items():
            found[frame] = inspection.cut_reference(frame, image)
    blank = np.full((PICTURE_HEIGHT, PICTURE_WIDTH, 3), 200, np.uint8)
    return {frame: blank if picture is None else picture for frame, picture in found.items()}
