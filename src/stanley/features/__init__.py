"""Feature maps for the comparison of images: pixels, small classifiers, and Inception.

Every number in a feature map carries its name, and can be compared with numbers in the same
features only.
"""

from __future__ import annotations

import torch

from stanley.errors import StanleyError, did_you_mean
from stanley.features.inception import Inception, InceptionFeatures, inception_features
from stanley.features.reference import Reference, reference_of
from stanley.metrics import Features, PixelFeatures

#: The names that `features_named` accepts, with a description of each.
ABOUT = {
    "pixels": "the values of the pixels",
    "pixels-8x8": "the values of images averaged to 8 × 8 pixels",
    "cifar": "a small classifier of CIFAR-10, which comes with this package",
    "mnist": "a small classifier of MNIST, which comes with this package",
    "inception": "Inception with the published weights from the cache folder, for FID and KID",
    "inception:PATH": "Inception with the weights in a file",
    "inception:download": "as inception, but download the weights (91 MiB) if they are missing",
}


def features_named(name: str, *, device: torch.device | str = "cpu") -> Features:
    """Return the features of that name, on a device; `ABOUT` lists the names.

    Raises StanleyError for an unknown name and for weights that are missing or cannot be read.
    """
    if name in ("pixels", "pixels-8x8"):
        return PixelFeatures(8 if name == "pixels-8x8" else None)
    if name in ("cifar", "mnist"):
        from stanley.features.classifier import classifier_features

        return classifier_features(name, device=str(device))
    kind, _, path = name.partition(":")
    if kind == "inception":
        if path == "download":
            return inception_features(download=True, device=device)
        return inception_features(path or None, device=device)
    raise StanleyError(f"unknown features {name!r}: {did_you_mean(name, ABOUT)}")


def score_names(features: Features) -> tuple[str, str]:
    """The names of Fréchet and kernel distance in these features.

    They are fid and kid with the published Inception only, else fd_NAME and kd_NAME.
    """
    return (
        ("fid", "kid")
        if features.name == "inception"
        else (f"fd_{features.name}", f"kd_{features.name}")
    )


__all__ = [
    "ABOUT",
    "Features",
    "Inception",
    "InceptionFeatures",
    "PixelFeatures",
    "Reference",
    "features_named",
    "inception_features",
    "reference_of",
    "score_names",
]
