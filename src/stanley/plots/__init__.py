"""Figures of training records, densities, images and chains.

Every function takes arrays or tensors, never a model, and returns a matplotlib `Figure`;
`save(figure, path)` writes it as a PNG, PDF or SVG.
"""

from stanley.plots.chains import autocorrelation, autocorrelation_by_chain, chain_traces
from stanley.plots.convergence import tv_curve
from stanley.plots.curves import learning_curves
from stanley.plots.density import (
    Panel,
    densities,
    energy_landscape,
    histogram,
    samples_over_density,
)
from stanley.plots.energies import energy_histograms
from stanley.plots.figures import Drawing, save
from stanley.plots.images import (
    chain_film,
    image_grid,
    labelled_grids,
    picture_table,
    tile,
    write_grid_png,
)
from stanley.plots.marginals import marginals, pairs
from stanley.plots.mixing import mixing
from stanley.plots.path import energy_path
from stanley.plots.theory import bias_dots, drift_curve, ray_growth

__all__ = [
    "Drawing",
    "Panel",
    "autocorrelation",
    "autocorrelation_by_chain",
    "bias_dots",
    "chain_film",
    "chain_traces",
    "densities",
    "drift_curve",
    "energy_histograms",
    "energy_landscape",
    "energy_path",
    "histogram",
    "image_grid",
    "labelled_grids",
    "learning_curves",
    "marginals",
    "mixing",
    "pairs",
    "picture_table",
    "ray_growth",
    "samples_over_density",
    "save",
    "tile",
    "tv_curve",
    "write_grid_png",
]
