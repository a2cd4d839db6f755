"""Figures as a table for people, as Markdown for the README, and as JSON lines for machines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from measure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

HEADINGS = ("what", "peer", "measured", "min–max", "target", "reached", "ours", "peer's")
LEGEND = (
    "A ratio under a target ≤ is our time by the peer's; any other, the peer's by ours. Medians, minima and maxima "
    "of interleaved rounds; times are medians."
)

_SCALES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def table(title: str, figures: Iterable[Figure]) -> Table:
    """One table of a topic, for a width of 100 columns."""
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for place, heading in enumerate(HEADINGS):
        left = place in (0, 1)
        made.add_column(heading, justify="left" if left else "right", no_wrap=not left, overflow="fold")
    for figure in figures:
        style = "red" if figure.reached is False else None
        made.add_row(*_cells(figure), style=style)
    return made


def markdown(title: str, figures: Sequence[Figure]) -> str:
    """The same table for the README, without the times."""
    shown = len(HEADINGS) - 2
    alignment = ("---", "---", *["---:"] * (shown - 2))
    rows = [HEADINGS[:shown], alignment, *(_cells(figure)[:shown] for figure in figures)]
    return "\n".join([f"**{title}**", "", *("| " + " | ".join(row) + " |" for row in rows), ""])


def json_line(topic: str, figure: Figure) -> str:
    return json.dumps({"topic": topic, **asdict(figure), "reached": figure.reached}, ensure_ascii=False)


def print_summary(figures: Sequence[Figure], console: Console) -> None:
    with_target = [figure for figure in figures if figure.reached is not None]
    reached = sum(bool(figure.reached) for figure in with_target)
    console.print(LEGEND, style="dim")
    console.print(f"{reached} of {len(with_target)} targets reached.")


def _cells(figure: Figure) -> tuple[str, ...]:
    value = figure.value
    between = f"{_number(value.low)}–{_number(value.high)}"
    reached = {None: "", True: "yes", False: "NO"}[figure.reached]
    times = [*map(_time, figure.seconds), "", ""][:2]
    target = "" if figure.target is None else str(figure.target)
    unit = "×" if figure.unit == "×" else f" {figure.unit}"
    return figure.what, figure.peer, f"{_number(value.median)}{unit}", between, target, reached, *times


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _time(seconds: float) -> str:
    size, unit = next((scale for scale in _SCALES if seconds >= scale[0]), _SCALES[-1])
    return f"{_number(seconds / size)} {unit}"
