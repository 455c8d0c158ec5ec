"""How good the renderer is when the true geometry is given, beside other frames of the clip, as they are and warped."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from personatalk.concurrency import map_in_order, num_workers
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.rendering.baselines import baselines
from personatalk.evaluation.rendering.judging import Judges, RunTruth
from personatalk.evaluation.rendering.page import ShownClip, draw_clip, write_page
from personatalk.evaluation.rendering.windows import Method, MethodOutput, choose_runs, read_windows
from personatalk.evaluation.report import report_of
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import lip_aperture
from personatalk.media import read_frames
from personatalk.training.corpus import Clip, spread_over_persons

MAX_SHOWN = 12  # clips on the page of frames


@dataclass(frozen=True, kw_only=True)
class JudgedClip:
    """What was found of one clip.

    Attributes:
        rows: method to its figures, means over the clip's runs; methods that had nothing to say are missing.
        shown: its frames on the page, if they are there.
    """

    rows: dict[str, dict[str, float]]
    shown: ShownClip | None = None


def evaluate_rendering(inputs: EvaluationInputs, painters: dict[str, Method]) -> dict:
    """Repaint judged frames of each clip from frames at least eight away, true geometry given.

    Clips are judged side by side, each on one core. With an output folder a page of large frames is written there.

    Args:
        inputs: the clips.
        painters: name to what is judged beside the baselines.

    Returns:
        what `report_of` gives, a row a method.
    """
    mesh = FaceMesh(inputs.load_face_model())
    methods = {**baselines(mesh), **painters}
    chosen = spread_over_persons(inputs.read_clips(), inputs.limit)
    judge = partial(judge_clip, inputs, methods, mesh, Judges.load(inputs.checkpoints, inputs.device))
    with closing(map_in_order(judge, enumerate(chosen), num_workers())) as results:
        judged = [result for result in results if result is not None]
    rows = {name: [clip.rows[name] for clip in judged if name in clip.rows] for name in methods}
    report = report_of("rendering", rows, clips=len(judged), skipped=len(chosen) - len(judged))
    if inputs.output is not None:
        write_page(inputs.output, report, [clip.shown for clip in judged if clip.shown is not None])
    return report


def judge_clip(
    inputs: EvaluationInputs, methods: dict[str, Method], mesh: FaceMesh, judges: Judges, numbered: tuple[int, Clip]
) -> JudgedClip | None:
    """Judge what each method paints of a clip, given with its number; None where it cannot be judged."""
    number, source = numbered
    clip = read_windows(inputs, source, mesh)
    if clip is None:
        return None
    found: dict[str, list[dict[str, float]]] = {}
    shown = None
    for run in choose_runs(clip.geometry):
        truth, painted = RunTruth(clip, run, mesh, judges), {}
        for name, paint in methods.items():
            result = paint(clip, run)
            if result is not None:
                painted[name] = result
                found.setdefault(name, []).append(truth.figures(result))
        if shown is None and inputs.output is not None and number < MAX_SHOWN:
            figures = {name: runs[-1] for name, runs in found.items()}
            shown = draw_run(inputs, source, truth, painted, figures, number=number, folder=inputs.output)
    return JudgedClip(rows={name: mean_figures(runs) for name, runs in found.items()}, shown=shown) if found else None


def draw_run(
    inputs: EvaluationInputs,
    clip: Clip,
    truth: RunTruth,
    painted: dict[str, MethodOutput],
    figures: dict[str, dict[str, float]],
    *,
    number: int,
    folder: Path,
) -> ShownClip:
    """Draw the frame of a run whose mouth is most open, into a folder."""
    row = int(lip_aperture(truth.clip.head_vertices[truth.run]).argmax())
    frame = int(truth.run[row])
    (source,) = read_frames(inputs.clip_path(clip), only={frame})
    return draw_clip(folder, number + 1, truth, row, source=source.image, painted=painted, figures=figures)


def mean_figures(runs: Iterable[dict[str, float]]) -> dict[str, float]:
    """Mean of each figure over runs."""
    runs = list(runs)
    return {key: float(np.mean([figures[key] for figures in runs])) for key in runs[0]}
