"""Probabilities of one classifier against time."""

from __future__ import annotations

from datetime import datetime, timezone
from html import escape

from django.utils.safestring import SafeString, mark_safe

from tom_alertstreams.ingest.classifications import ClassifierHistory


def probability_plot(history: ClassifierHistory) -> SafeString:
    """HTML with one line for each class; "" where no probability has a time. The page has to have plotly.js."""
    from plotly import graph_objects, offline

    lines: dict[str, list[tuple[datetime, float, str]]] = {}
    for item in reversed(history.classified):
        for of_class in item.classes:
            if item.time is not None and of_class.probability is not None:
                lines.setdefault(of_class.class_name, []).append((item.time, of_class.probability, item.version))
    if not lines:
        return SafeString()
    known = [item.class_name for item in history.newest.classes]
    order = {name: place for place, name in enumerate([*known, *(name for name in lines if name not in known)])}
    traces = [
        graph_objects.Scatter(
            x=[_utc(time) for time, _, _ in points],
            y=[probability for _, probability, _ in points],
            # Plotly reads these as HTML of its own kind.
            text=[escape(version, quote=False) for _, _, version in points],
            name=escape(name, quote=False),
            mode="lines+markers",
        )
        for name, points in sorted(lines.items(), key=lambda line: order[line[0]])
    ]
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
