"""The frame of the page of large frames: its look, and a report's table in HTML."""

from __future__ import annotations

from html import escape
from string import Template

import numpy as np

# figures that are best when large, when small, and at the true frames' own value of 1; of others none is best
LARGE, NEAR_ONE = ("psnr_lower_face", "psnr_lips"), ("sharpness_lips", "seam")
SMALL = ("lpips_lower_face", "lpips_lips", "flicker", "identity")

PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Stage 2, frame by frame</title>
<style>
:root { color-scheme: dark; --line: #333a44; --soft: #9aa4b2; --best: #7ee0b0; }
body { margin: 0 auto; padding: 2rem; max-width: 2560px; background: #14171c; color: #e8ebf0;
       font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.9rem; margin: 0; } h2 { font-size: 1.2rem; margin: 3.5rem 0 .8rem; }
p { color: var(--soft); margin: .4rem 0; max-width: 75ch; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 500; } th:first-child { text-align: left; color: inherit; }
td small { color: var(--soft); display: block; font-size: .72rem; } td.best { color: var(--best); font-weight: 600; }
.frames { display: grid; grid-template-columns: repeat(auto-fit, minmax(384px, 1fr)); gap: 12px; }
figure { margin: 0; max-width: 480px; } figcaption { color: var(--soft); padding: .3rem 0; }
figcaption i { font-size: .8rem; opacity: .7; }
.frame { position: relative; border-radius: 6px; overflow: hidden; background: #000; }
.frame img { display: block; width: 100%; } .frame .below { position: absolute; inset: 0; }
.frame .below + img { position: relative; transition: opacity .12s; } .frame:hover .below + img { opacity: 0; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; max-width: none; }
.legend b { display: inline-block; width: .9em; height: .9em; border-radius: 3px; margin-right: .5em;
            vertical-align: -.1em; }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--soft); }
.strips { display: grid; grid-template-columns: repeat(auto-fill, 576px); gap: 4px 16px; }
.strips figure { max-width: none; } .strips figure div { height: 160px; width: 576px; border-radius: 4px; }
</style></head><body>
<h1>Stage 2, frame by frame</h1>
<p>$note. Every method repaints the lower face of frames whose mouth it does not see, from frames at least eight away;
small figures are 95 % intervals over the clips, and the best of a column is coloured.</p>
<div class="scroll">$table</div>
<p>Below: of each clip the frame with the most open mouth of its first judged run. All pictures are drawn from the
window that is judged; the colours of the last one say which reference frame each pixel was taken from, and the line
under it how far away in time each reference lies and how much it gave.</p>
$clips
</body></html>
""")


def report_table(table: dict[str, dict[str, dict[str, float]]]) -> str:
    """Print a report's table as HTML, methods down, the best of each column marked.

    Args:
        table: method to figure to mean, low, high, count.
    """
    names = list(dict.fromkeys(name for figures in table.values() for name in figures))
    best = {name: best_method(table, name) for name in names}
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in ("", *names))
    rows = []
    for method, figures in table.items():
        cells = "".join(_cell(figures.get(name), is_best=best[name] == method) for name in names)
        rows.append(f"<tr><th>{escape(method)}</th>{cells}</tr>")
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def best_method(table: dict[str, dict[str, dict[str, float]]], name: str) -> str | None:
    """Find the method whose mean of a figure is best; None where none is."""
    means = {method: figures[name]["mean"] for method, figures in table.items() if name in figures}
    means = {method: mean for method, mean in means.items() if np.isfinite(mean)}
    if name in LARGE:
        return max(means, key=lambda method: means[method], default=None)
    if name in NEAR_ONE:
        return min(means, key=lambda method: abs(np.log(means[method])), default=None)
    return min(means, key=lambda method: means[method], default=None) if name in SMALL else None


def _cell(figure: dict[str, float] | None, *, is_best: bool) -> str:
    if not figure or not figure["count"]:
        return "<td>–</td>"
    mark = ' class="best"' if is_best else ""
    return f"<td{mark}>{figure['mean']:.4g}<small>{figure['low']:.3g} – {figure['high']:.3g}</small></td>"
