"""What images are seen through before they are compared: pixels, small classifiers, Inception.

A number carries the name of its features, and compares with others in the same features only.
"""

from __future__ import annotations

import torch

from stanley.errors import StanleyError, did_you_mean
from stanley.features.inception import Inception, InceptionFeatures, inception_features
from stanley.features.reference import Reference, reference_of
from stanley.metrics import Features, PixelFeatures

#: What features_named knows, and what each is.
ABOUT = {
    "pixels": "the values themselves",
    "pixels-8x8": "images averaged to 8 × 8",
    "cifar": "a small classifier of CIFAR-10, shipped with this package",
    "mnist": "a small classifier of MNIST, shipped with this package",
    "inception": "Inception with the published weights, from the cache folder: FID and KID",
    "inception:PATH": "the same from a file",
    "inception:download": "the same, fetched first (91 MiB) if they are not in the cache folder",
}


def features_named(name: str, *, device: torch.device | str = "cpu") -> Features:
    """The features of that name, on a device; `ABOUT` lists the names."""
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
    raise StanleyError(f"features {name!r} are not known; {did_you_mean(name, ABOUT)}")


def score_names(features: Features) -> tuple[str, str]:
    """What Fréchet and kernel distance in these features are called:
    fid and kid with the published Inception alone.
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
