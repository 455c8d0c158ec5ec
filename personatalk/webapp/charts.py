"""Charts that are drawn by the browser: their numbers, and the component that shows them.

Their texts are in the language of the visitor whose event is handled. A chart is a dictionary: `times` [T] s of the
output's frames, `start` and `end` s of the axis, `linked` where the player's frame is on it, and `rows`, each with
`label`, `unit`, `height` px and some of

* `lines`: `name`, `colour` and `values` [T], None where there is none;
* `stack`: the same, shares that add up to 1;
* `area`: `times`, `low`, `high` and `colour`;
* `bands`: `name`, `colour` and `spans`, (from, to) s;
* `marks`: `x` s, `y`, `colour`, `name` and whether it is `square`.

Below its rows a chart may have `planes`, and one that has only these needs no `times`: each with `label`, `axes`, a
description of each, and `groups` of points, each with `name`, `colour`, `size` px, `points` [N, 2], whether they are
drawn `hollow`, and whether they are `by_frame`, a point for each of `times`, of which the player's is marked and a
click moves the player. All planes of a chart show its `common` groups besides.

A colour is "#rrggbb" or the name of a colour of the style sheet.
"""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np

from personatalk.geometry.mouth import lip_aperture, mouth_width
from personatalk.inspection.attention import KINDS, SHOWN_SHARES, attention_over_time, switching
from personatalk.inspection.geometry import NUM_CURVES, coefficient_table, pose_table
from personatalk.inspection.palette import PALETTE
from personatalk.inspection.recorder import evenly
from personatalk.inspection.recording import Inspection
from personatalk.inspection.references import STRATEGIES, bank, choose, distances_to_nearest, reference_colours
from personatalk.inspection.styles import SAMPLE_RATE, aperture_curves, runs, style_map
from personatalk.webapp import strings
from personatalk.webapp.jobs import SEEN
from personatalk.webapp.languages import on_page, said

Chart = dict[str, Any]
ROW_PX, LOW_ROW_PX = 110, 66
WAVEFORM_POINTS = 900
CLOSED_IOD = 0.01  # lip aperture below which lips count as shut
DIGITS = 4
STRATEGY_COLOURS = [0, 1, 2, 4]  # of the palette; the others are like those of the clip or the driven mouths
MAX_POINTS = 600  # of a cloud that is drawn
LABELS = {name: label for label, name in strings.STRATEGIES}

TEMPLATE = '<div class="chart"></div>'
HELPED_TEMPLATE = f'<div class="chart-help">{strings.CHART_HELP}</div>{TEMPLATE}'
TURN_COLOURS = {"yaw": "driven", "pitch": "seen", "roll": "source"}
JS = "window.charts.mount(element, props, watch);"


def add_chart(label: str, elem_id: str) -> gr.HTML:
    """Add a chart with a heading and a word on its use; without both if the heading is empty."""
    if label:
        gr.Markdown(f"**{on_page(label)}**")
    template = HELPED_TEMPLATE if label else TEMPLATE
    return gr.HTML(None, html_template=template, js_on_load=JS, elem_id=elem_id, elem_classes="chart-block")


def seen_aperture(inspection: Inspection) -> np.ndarray | None:
    """[T] IOD: lip aperture as the judge saw it in some seconds of the dub, NaN elsewhere; None where it did not."""
    path, times = inspection.folder / SEEN, inspection.times
    if not path.is_file():
        return None
    aperture = np.full(len(times), np.nan)
    with np.load(path) as seen:
        aperture[np.abs(times[:, None] - seen["times"]).argmin(0)] = seen["aperture"]
    return aperture


def mouth_chart(inspection: Inspection, *, has_width: bool = True) -> Chart:
    """Lip aperture and mouth width, asked for, of the source and seen in the dub, above the new speech.

    Args:
        inspection: a recorded run.
        has_width: with the row of the mouth's width.
    """
    curves = aperture_curves(inspection)
    times = curves["time_s"]
    lines = [
        _line(strings.CHART_SOURCE, "source", curves["source_aperture"]),
        _line(strings.CHART_ASKED, "driven", curves["driven_aperture"]),
    ]
    seen = seen_aperture(inspection)
    if seen is not None:
        lines.append(_line(strings.CHART_SEEN, "seen", seen) | {"dashed": True})
    closed: Chart = {"name": said(strings.CHART_CLOSED), "colour": "closed"}
    closed["spans"] = _spans(curves["driven_aperture"] < CLOSED_IOD, times)
    rows = [_row(strings.CHART_APERTURE, "IOD", ROW_PX) | {"lines": lines, "bands": [closed], "from_zero": True}]
    if has_width:
        widths = [
            _line(strings.CHART_SOURCE, "source", curves["source_width"]),
            _line(strings.CHART_ASKED, "driven", curves["driven_width"]),
        ]
        rows.append(_row(strings.CHART_WIDTH, "IOD", ROW_PX) | {"lines": widths})
    voice = {"name": said(strings.CHART_VOICE), "colour": "voice", "spans": _spans(~curves["is_silent"], times)}
    speech = _waveform(inspection.waveform, float(times[-1])) if len(inspection.waveform) else {}
    rows.append(_row(strings.CHART_SPEECH, "", LOW_ROW_PX) | {"area": speech, "bands": [voice]})
    return _over_output(inspection, rows)


def pose_chart(inspection: Inspection) -> Chart:
    """Head pose, size of the face, and the expression coefficients that vary most."""
    pose, coefficients = pose_table(inspection), coefficient_table(inspection)
    count = inspection.face_model.num_speech
    largest = np.argsort(-inspection.posed.expression[:, :count].std(0))[:NUM_CURVES]
    turns = [_line(strings.CHART_TURNS[name], TURN_COLOURS[name], pose[f"{name}_deg"]) for name in TURN_COLOURS]
    size = [_line(strings.CHART_EYES, "grey", pose["scale_px"])]
    rows = [
        _row(strings.CHART_TURN, strings.CHART_DEGREES, LOW_ROW_PX) | {"lines": turns},
        _row(strings.CHART_SIZE, "px", LOW_ROW_PX) | {"lines": size},
    ]
    for number in largest:
        lines = [
            _line(strings.CHART_SOURCE, "source", coefficients[f"source_{number}"]),
            _line(strings.CHART_ASKED, "driven", coefficients[f"driven_{number}"]),
        ]
        label = strings.CHART_COEFFICIENT.format(number=number)
        rows.append(_row(label, strings.CHART_DEVIATIONS, LOW_ROW_PX) | {"lines": lines})
    return _over_output(inspection, rows)


def attention_chart(inspection: Inspection) -> Chart:
    """Shares of the references in what each attention layer gives, over time."""
    rows = []
    for kind in KINDS:
        positions, shares = attention_over_time(inspection, kind)
        heaviest = np.sort(np.argsort(-shares.mean(0))[:SHOWN_SHARES])
        frames, colours = bank(inspection, kind)[heaviest], reference_colours(inspection, kind)[heaviest]
        nearest = positions[np.abs(np.arange(inspection.num_frames)[:, None] - positions).argmin(1)]
        at = np.searchsorted(positions, nearest)
        stack = [
            _line(str(frame), _hex(colour), shares[at, number])
            for frame, number, colour in zip(frames.tolist(), heaviest.tolist(), colours, strict=True)
        ]
        others = (shares.sum(1) - shares[:, heaviest].sum(1))[at]
        stack.append(_line(strings.CHART_OTHERS, _hex(PALETTE[-1]), others))
        label = strings.CHART_SHARES[kind].format(change=switching(inspection, kind))
        rows.append(_row(label, "", ROW_PX + 40) | {"stack": stack})
    return _over_output(inspection, rows)


def style_chart(inspection: Inspection) -> Chart:
    """The speaker's style and the driven one among those of the training speakers."""
    place = style_map(inspection)
    groups = [
        _group(strings.CHART_SPEAKERS.format(count=len(place.speakers)), "grey", place.speakers, 3),
        _group(strings.CHART_THIS, "source", place.source[None], 9),
        _group(strings.CHART_DRIVEN, "driven", place.driven[None], 6),
    ]
    return {
        "linked": False,
        "planes": [{"label": said(strings.STYLE_MAP), "axes": [said(axis) for axis in place.axes], "groups": groups}],
    }


def timeline_chart(inspection: Inspection) -> Chart:
    """Where in the reference video the references lie, on the curve of its lip aperture."""
    times = inspection.reference.times - inspection.reference.times[0]
    aperture = lip_aperture(inspection.reference_vertices)
    marks = []
    for kind in KINDS:
        frames = bank(inspection, kind)
        heights = aperture[frames] if kind == "lip" else np.full(len(frames), -0.12 * aperture.max())
        for frame, height, colour in zip(frames.tolist(), heights, reference_colours(inspection, kind), strict=True):
            name = said(strings.CHART_REFERENCE[kind].format(frame=frame, seconds=times[frame]))
            mark = {"x": _rounded(times[frame]), "y": _rounded(height), "colour": _hex(colour), "name": name}
            marks.append(mark | {"square": kind == "face"})
    lines = [_line(strings.CHART_REFERENCE_APERTURE, "grey", aperture)]
    row = _row(strings.CHART_APERTURE, "IOD", 260) | {"lines": lines, "marks": marks}
    is_in_step = inspection.is_same_clip and np.array_equal(inspection.order, np.arange(len(times)))
    return {"times": _rounded(times), "start": 0.0, "end": float(times[-1]), "linked": is_in_step, "rows": [row]}


def strategies_chart(inspection: Inspection) -> Chart:
    """How near each strategy's lip references come to each driven mouth, and which mouths of the clip it selects."""
    lines, planes = [], []
    for name, colour in zip(STRATEGIES, PALETTE[STRATEGY_COLOURS], strict=True):
        frames, label = choose(inspection, name), LABELS[name]
        lines.append(_line(label, _hex(colour), distances_to_nearest(inspection, frames)))
        mouths = mouth_shapes(inspection.reference_vertices[frames])
        selected = _group(strings.CHART_SELECTED, _hex(colour), mouths, 5) | {"hollow": True}
        planes.append({"label": said(label), "axes": [], "groups": [selected]})
    there = np.flatnonzero(inspection.reference.valid)
    there = there[evenly(len(there), MAX_POINTS)]
    driven = np.where(inspection.posed.valid[:, None], mouth_shapes(inspection.driven_vertices), np.nan)
    common = [
        _group(strings.CHART_SOURCE, "grey", mouth_shapes(inspection.reference_vertices[there]), 2),
        _group(strings.CHART_DRIVEN, "driven", driven, 2) | {"by_frame": True},
    ]
    row = _row(strings.CHART_DISTANCE, "IOD", ROW_PX) | {"lines": lines, "from_zero": True}
    return _over_output(inspection, [row]) | {"planes": planes, "common": common}


def mouth_shapes(vertices: np.ndarray) -> np.ndarray:
    """[N, 2] IOD: width and lip aperture of mouths."""
    return np.stack([mouth_width(vertices), lip_aperture(vertices)], 1)


def _over_output(inspection: Inspection, rows: list[dict[str, Any]]) -> Chart:
    times = inspection.times
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.04
    return {"times": _rounded(times), "start": 0.0, "end": float(times[-1]) + step, "linked": True, "rows": rows}


def _row(label: str, unit: str, height: int) -> dict[str, Any]:
    return {"label": said(label), "unit": said(unit), "height": height}


def _line(name: str, colour: str, values: np.ndarray) -> dict[str, Any]:
    return {"name": said(name), "colour": colour, "values": _rounded(values)}


def _group(name: str, colour: str, points: np.ndarray, size: int) -> dict[str, Any]:
    return {"name": said(name), "colour": colour, "size": size, "points": _rounded(points)}


def _rounded(values: Any) -> Any:
    """Numbers for JSON; what is not finite becomes None."""
    array = np.round(np.asarray(values, np.float64), DIGITS)
    return np.where(np.isfinite(array), array, None).tolist()  # pyright: ignore[reportCallIssue, reportArgumentType]


def _hex(colour: np.ndarray) -> str:
    return "#" + "".join(f"{int(part):02x}" for part in colour)


def _spans(flags: np.ndarray, times: np.ndarray) -> list[list[float]]:
    """(from, to) s of each run of true flags."""
    half = float(np.median(np.diff(times))) / 2 if len(times) > 1 else 0.02
    return [[max(0.0, float(times[a]) - half), float(times[b - 1]) + half] for a, b in runs(flags)]


def _waveform(waveform: np.ndarray, seconds: float) -> dict[str, Any]:
    """The envelope of a sound [S], as far as the picture goes."""
    heard = waveform[: int(seconds * SAMPLE_RATE)]
    step = max(1, len(heard) // WAVEFORM_POINTS)
    count = max(1, len(heard) // step)
    blocks = heard[: count * step].reshape(count, -1)
    times = np.arange(count) * step / SAMPLE_RATE
    low, high = (_rounded(values) for values in (blocks.min(1), blocks.max(1)))
    return {"times": _rounded(times), "low": low, "high": high, "colour": "grey"}
