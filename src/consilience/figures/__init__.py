"""Figures of a run: every ``*_data`` computes what every ``plot_*`` draws.

Data are tidy tables (one row per point). Drawing needs Matplotlib: ``pip install 'consilience[report]'``.
"""

from __future__ import annotations

from consilience.figures.across import (
    across_data,
    across_layers_data,
    across_matrix_data,
    plot_across,
    plot_across_layers,
)
from consilience.figures.alignment_curve import alignment_curve_data, plot_alignment_curve
from consilience.figures.along_axis import along_axis_data, plot_along_axis
from consilience.figures.errors import errors_data, plot_errors, threshold_data
from consilience.figures.generalization import generalization_data, plot_generalization
from consilience.figures.heat_map import heat_map_data, plot_heat_map
from consilience.figures.prediction import plot_prediction, prediction_data
from consilience.figures.theory import plot_theory, theory_data
from consilience.figures.trajectory import plot_trajectory, trajectory_data

__all__ = [
    "across_data",
    "across_layers_data",
    "across_matrix_data",
    "alignment_curve_data",
    "along_axis_data",
    "errors_data",
    "generalization_data",
    "heat_map_data",
    "plot_across",
    "plot_across_layers",
    "plot_alignment_curve",
    "plot_along_axis",
    "plot_errors",
    "plot_generalization",
    "plot_heat_map",
    "plot_prediction",
    "plot_theory",
    "plot_trajectory",
    "prediction_data",
    "theory_data",
    "threshold_data",
    "trajectory_data",
]
