"""Alert packets of ELAsTiCC, DESC's simulation of Rubin's stream (schemas elasticc.v0_9 and v0_9_1).

The packets look like Rubin's of schema v4. Their fluxes are in nJy, as SNANA's writer of the streamed alerts scaled
them and as Fink read them. Those of the rehearsal of early 2022 are SNANA's own, with the zero point 27.5: they are
known by the redshift of their host, which is called ``hostgal_z`` in them and ``hostgal_zspec`` ever since May 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from tom_alertstreams.alerts import Alert
from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.reports import TargetReport

from . import lsst
from .values import mapping

ELASTICC: Final = lsst.Survey(
    "ELAsTiCC", "midPointTai", band="filterName", flux="psFlux", error="psFluxErr", dec="decl"
)

#: AB magnitude of a source of SNANA's flux 1.
SNANA_ZERO_POINT: Final = 27.5
_REHEARSAL: Final = replace(ELASTICC, zero_point=SNANA_ZERO_POINT)


def recognises(content: object) -> bool:
    """Content has a diaSource with a time as ELAsTiCC calls it."""
    return isinstance(content, Mapping) and ELASTICC.time in mapping(content.get("diaSource"))


def parse(alert: Alert, packet: Mapping[str, Any], options: IngestOptions) -> list[TargetReport]:
    """One report with the new detection and the history that comes with it.

    :raises RejectAlert: ``unsupported`` where the detection belongs to no object.
    """
    survey = _REHEARSAL if "hostgal_z" in mapping(packet.get("diaObject")) else ELASTICC
    return [lsst.report(packet, survey, options.detection_snr)]
