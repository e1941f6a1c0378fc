"""The documents of the project, and what they name; for the tests that run their samples and those that look things up."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
#: Others' apps that the samples name. Not in INSTALLED_APPS of the tests: looked up in their source.
OTHERS = ("tom_nonlocalizedevents",)
#: The streams of this project: heading in docs/reference/streams.md → class.
SHIPPED = {
    "Any Kafka broker": "tom_alertstreams.alertstreams.kafka.KafkaAlertStream",
    "Hopskotch": "tom_alertstreams.alertstreams.hopskotch.HopskotchAlertStream",
    "GCN": "tom_alertstreams.alertstreams.gcn.GCNClassicAlertStream",
    "ANTARES": "tom_alertstreams.alertstreams.antares.AntaresAlertStream",
    "ALeRCE": "alerce_stream.streams.AlerceAlertStream",
}


def name_of(path: Path) -> str:
    """The document's path in the project: the id of its tests."""
    return str(path.relative_to(ROOT))


def dotted_paths(document: Path) -> set[str]:
    """Modules and what is in them, as a document names them: ours, the TOM Toolkit's and others'."""
    text = re.sub(r"tom_alertstreams\.W\d+", "", document.read_text())
    names = "|".join(("tom_alertstreams", "alerce_stream", "tom_targets", "tom_hermes", *OTHERS))
    return set(re.findall(rf"(?<![\w./-])(?:{names})(?:\.[A-Za-z_]\w*)+", text)) - {"tom_alertstreams.ingest"}
