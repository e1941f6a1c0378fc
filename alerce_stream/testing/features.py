"""Names of what the light-curve classifier looks at. Some are such as no variable may have."""

from __future__ import annotations

from typing import Final

_OF_EACH_BAND: Final = (
    "Amplitude", "AndersonDarling", "Autocor_length", "Beyond1Std", "Con", "Eta_e", "ExcessVar", "GP_DRW_sigma",
    "GP_DRW_tau", "Gskew", "Harmonics_mag_1", "Harmonics_mag_2", "Harmonics_mag_3", "Harmonics_mag_4",
    "Harmonics_mag_5", "Harmonics_mag_6", "Harmonics_mag_7", "Harmonics_mse", "Harmonics_phase_2",
    "Harmonics_phase_3", "Harmonics_phase_4", "Harmonics_phase_5", "Harmonics_phase_6", "Harmonics_phase_7",
    "IAR_phi", "LinearTrend", "MHPS_PN_flag", "MHPS_high", "MHPS_low", "MHPS_non_zero", "MHPS_ratio", "MaxSlope",
    "Mean", "Meanvariance", "MedianAbsDev", "MedianBRP", "PairSlopeTrend", "PercentAmplitude", "Period_band",
    "delta_period", "Psi_CS", "Psi_eta", "Pvar", "Q31", "Rcs", "SF_ML_amplitude", "SF_ML_gamma", "SPM_A", "SPM_beta",
    "SPM_chi", "SPM_gamma", "SPM_t0", "SPM_tau_fall", "SPM_tau_rise", "Skew", "SmallKurtosis", "Std", "StetsonK",
    "delta_mag_fid", "delta_mjd_fid", "dmag_first_det_fid", "dmag_non_det_fid", "first_mag", "iqr",
    "last_diffmaglim_before_fid", "last_mjd_before_fid", "max_diffmaglim_after_fid", "max_diffmaglim_before_fid",
    "mean_mag", "median_diffmaglim_after_fid", "median_diffmaglim_before_fid", "min_mag", "n_det", "n_neg",
    "n_non_det_after_fid", "n_non_det_before_fid", "n_pos", "positive_fraction",
)  # fmt: skip
_OF_ALL: Final = (
    "Multiband_period", "Period_fit", "Power_rate_1/2", "Power_rate_1/3", "Power_rate_1/4",
    "Power_rate_2", "Power_rate_3", "Power_rate_4", "W1-W2", "W2-W3", "g-W2", "g-W3", "g-r_max", "g-r_max_corr",
    "g-r_mean", "g-r_mean_corr", "gal_b", "gal_l", "r-W2", "r-W3", "rb", "sgscore1",
)  # fmt: skip
#: Of the green band, of the red one, of both together.
FEATURES: Final = (*(f"{name}_{band}" for name in _OF_EACH_BAND for band in (1, 2)), *_OF_ALL)
#: The light curve did not do for these.
ABSENT: Final = frozenset({"SF_ML_gamma_1", "SF_ML_gamma_2", "SF_ML_amplitude_1"})
