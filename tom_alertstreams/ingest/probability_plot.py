"""Probabilities of classifiers against time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from html import escape
from typing import Any

from django.utils.safestring import SafeString, mark_safe

from .classifications import ClassifierHistory

#: (time, probability, what is said of it where the pointer is).
Point = tuple[datetime, float, str]


def probability_plot(history: ClassifierHistory) -> SafeString:
    """HTML with one line for each class; "" where no probability has a time. The page has to have plotly.js."""
    lines: dict[str, list[Point]] = {}
    for item in reversed(history.classified):
        for of_class in item.classes:
            if item.time is not None and of_class.probability is not None:
                lines.setdefault(of_class.class_name, []).append((item.time, of_class.probability, item.version))
    known = [item.class_name for item in history.newest.classes]
    order = {name: place for place, name in enumerate([*known, *(name for name in lines if name not in known)])}
    return _plot(sorted(lines.items(), key=lambda line: order[line[0]]))


def best_classes_plot(histories: Iterable[ClassifierHistory]) -> SafeString:
    """HTML with one line for each classifier: how probable its most probable class was, which the pointer shows."""
    lines: list[tuple[str, list[Point]]] = []
    for history in histories:
        best = [(item.time, item.classes[0]) for item in reversed(history.classified)]
        points = [(time, of.probability, of.class_name) for time, of in best if time and of.probability is not None]
        if points:
            lines.append((f"{history.classifier}, {history.object_id}", points))
    return _plot(lines)


def _plot(lines: Iterable[tuple[str, list[Point]]]) -> SafeString:
    from plotly import graph_objects, offline

    traces: list[Any] = [
        graph_objects.Scatter(
            x=[_utc(time) for time, _, _ in points],
            y=[probability for _, probability, _ in points],
            # Plotly reads these as HTML of its own kind.
            text=[escape(words, quote=False) for _, _, words in points],
            name=escape(name, quote=False),
            mode="lines+markers",
        )
        for name, points in lines
    ]
    if not traces:
        return SafeString()
    layout = graph_objects.Layout(
        # Of a fixed size, as the Toolkit's own plots: a tab that is not shown yet has none.
        width=700,
        height=350,
        margin={"t": 30, "b": 40},
        showlegend=True,
        xaxis={"title": "Time (UTC)"},
        yaxis={"title": "Probability", "range": (-0.03, 1.03)},
    )
    # The page brings plotly.js, 4 MB, with each plot of its own.
    div: str = offline.plot(
        graph_objects.Figure(traces, layout), output_type="div", show_link=False, include_plotlyjs=False
    )
    return mark_safe(div)  # noqa: S308  (plotly escapes what ends a script)


def _utc(time: datetime) -> str:
    return time.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")
