"""Light curves and forced photometry in the shape of ALeRCE's API."""

from __future__ import annotations

import random
from typing import Any


def detection(mjd: float, fid: int, magnitude: float, error: float = 0.1, **fields: Any) -> dict[str, Any]:
    """One of ``detections``: an alert of ZTF.

    :param fid: 1, 2, 3: g, r, i.
    :param fields: what is to be otherwise, for example ``isdiffpos=-1``.
    """
    pid = int((mjd - 57754) * 1e9)
    return {
        "mjd": mjd, "candid": f"{pid}15010", "fid": fid, "pid": pid, "diffmaglim": 20.5, "isdiffpos": 1,
        "nid": int(mjd - 57754), "distnr": 0.25, "magpsf": magnitude, "magpsf_corr": None, "magpsf_corr_ext": None,
        "magap": magnitude + 0.02, "magap_corr": None, "sigmapsf": error, "sigmapsf_corr": None,
        "sigmapsf_corr_ext": None, "sigmagap": error, "sigmagap_corr": None, "ra": 121.674, "dec": 38.879, "rb": 0.95,
        "rbversion": "t17_f5_c3", "drb": 0.9999, "magapbig": magnitude, "sigmagapbig": error, "rfid": 708120126,
        "has_stamp": True, "corrected": False, "dubious": False, "candid_alert": None, "step_id_corr": "stub",
        "phase": 0.0, "parent_candid": None, **fields,
    }  # fmt: skip


def non_detection(mjd: float, fid: int, limit: float | None = 20.5) -> dict[str, Any]:
    """One of ``non_detections``."""
    return {"mjd": mjd, "fid": fid, "diffmaglim": limit}


def forced(mjd: float, fid: int, magnitude: float, error: float = 0.1, **fields: Any) -> dict[str, Any]:
    """One row of forced photometry: the magnitude of the absolute flux, whose sign is ``isdiffpos``.

    :param fields: what is to be otherwise; ``procstatus`` goes where the API has it.
    """
    extra = {
        "diffmaglim": 20.5, "procstatus": fields.pop("procstatus", "0"), "magzpsci": 26.2, "exptime": 30.0, "rcid": 8,
        "programid": 1, "distnr": 0.25, "rfid": 708120126,
    }  # fmt: skip
    return {
        "tid": "ZTF", "sid": "ZTF", "aid": "AL26stub", "pid": int((mjd - 57754) * 1e9), "oid": "", "mjd": mjd,
        "fid": fid, "ra": 121.674, "e_ra": 0.07, "dec": 38.879, "e_dec": 0.07, "mag": magnitude, "e_mag": error,
        "mag_corr": None, "e_mag_corr": None, "e_mag_corr_ext": None, "isdiffpos": 1, "corrected": False,
        "dubious": False, "parent_candid": None, "has_stamp": False, "extra_fields": extra, **fields,
    }  # fmt: skip


def light_curve(oid: str, last_mjd: float = 61365.3) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A transient that rises for three weeks, what ``lightcurve`` and ``forced-photometry`` say of it.

    The same arguments make the same light curve.
    """
    dice = random.Random(oid)  # noqa: S311  (nothing secret)
    peak = dice.uniform(17.0, 19.0)
    detections, limits, forced_rows = [], [], []
    for night in range(-30, 1, 3):
        for fid in (1, 2):
            mjd = last_mjd + night + fid / 50
            magnitude = peak + 0.2 * (fid - 1) + (night / 12) ** 2 + dice.gauss(0, 0.03)
            error = min(0.3, 1.0857 / 5 * 10 ** (0.4 * (magnitude - 20.5)))
            if magnitude < 20.5:
                detections.append(detection(mjd, fid, magnitude, error))
            else:
                limits.append(non_detection(mjd, fid))
            forced_rows.append(forced(mjd, fid, magnitude, error, oid=oid))
    return {"detections": detections, "non_detections": limits}, forced_rows
