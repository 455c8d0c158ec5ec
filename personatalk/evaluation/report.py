"""Figures of an evaluation as JSON and as a table with 95 % intervals."""

from __future__ import annotations

from personatalk.metrics.statistics import summarise


def report_of(what: str, rows: dict[str, list[dict[str, float]]], **facts: object) -> dict:
    """Gather the figures of an evaluation into what JSON can hold.

    Args:
        what: name of the evaluation.
        rows: method to one dict of figures a clip.
        facts: anything else worth knowing, such as counts.
    """
    return {"evaluation": what, **facts, "table": {method: summarise(clips) for method, clips in rows.items()}}


def to_markdown(report: dict) -> str:
    """Print a report's table with 95 % intervals: methods down, or figures down where these are more."""
    table = report["table"]
    names = list(dict.fromkeys(name for figures in table.values() for name in figures))
    cells = {(method, name): _cell(table[method].get(name)) for method in table for name in names}
    if len(names) > len(table):
        grid = [["", *table], *([name, *(cells[method, name] for method in table)] for name in names)]
    else:
        grid = [["", *names], *([method, *(cells[method, name] for name in names)] for method in table)]
    grid.insert(1, ["---"] * len(grid[0]))
    facts = {key: value for key, value in report.items() if key != "table" and not isinstance(value, (dict, list))}
    lines = ["| " + " | ".join(row) + " |" for row in grid]
    return "\n".join([", ".join(f"{key}: {value}" for key, value in facts.items()), "", *lines])


def _cell(figure: dict[str, float] | None) -> str:
    if not figure or not figure["count"]:
        return "–"
    return f"{figure['mean']:.4g} [{figure['low']:.4g}, {figure['high']:.4g}]"
