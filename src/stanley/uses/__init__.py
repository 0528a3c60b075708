"""Uses of a trained energy: inpainting, denoising, composition, interpolation, scores of points.

    Clamped      inpainting: U as a function of the unknown coordinates alone
    Noisy        denoising: U plus the misfit to a noisy observation
    Composed     composition: a weighted sum of potentials
    string       interpolation: a path between two points that relaxes into the valleys of U
    score        out-of-distribution scores of points
    outside      the scores of points, compared with those of other data

`Clamped`, `Noisy` and `Composed` are potentials: pass them to `run_chains` with any sampler.
"""

from stanley.uses.composition import Composed, sampler_of_sum
from stanley.uses.denoising import Denoised, Noisy, denoise, posterior_mean
from stanley.uses.inpainting import Clamped, Inpainted, inpaint
from stanley.uses.interpolation import Path, string
from stanley.uses.masks import box_mask, half_mask
from stanley.uses.restoration import restoration_scores
from stanley.uses.scoring import Outside, Scores, outside, percentile, score

__all__ = [
    "Clamped",
    "Composed",
    "Denoised",
    "Inpainted",
    "Noisy",
    "Outside",
    "Path",
    "Scores",
    "box_mask",
    "denoise",
    "half_mask",
    "inpaint",
    "outside",
    "percentile",
    "posterior_mean",
    "restoration_scores",
    "sampler_of_sum",
    "score",
    "string",
]
