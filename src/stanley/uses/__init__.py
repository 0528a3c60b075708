"""What a trained energy is good for: each use is a potential built from U, or a path through it, or
a score.

    Clamped      inpainting: U as a function of the unknown coordinates alone
    Noisy        denoising: U plus the misfit to a noisy observation
    Composed     composition: a weighted sum of potentials
    string       interpolation: a path of equal steps that relaxes into the valleys of U
    score        out-of-distribution scores of points
    outside      these scores beside those of held-out data, and of what counts as inside

A potential built here goes to `run_chains` with any sampler of the library, as every other does.
"""

from stanley.uses.composition import Composed, sampler_of_sum
from stanley.uses.denoising import Denoised, Noisy, denoise
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
    "restoration_scores",
    "sampler_of_sum",
    "score",
    "string",
]
