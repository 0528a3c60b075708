"""Breakages of the features that images are compared in."""

from __future__ import annotations

from tests.mutations.mutation import Mutation, breakages

MUTATIONS: tuple[Mutation, ...] = (
    *breakages(
        "features/inception.py",
        "features/test_inception.py",
        ("padding is averaged", "count_include_pad=False", "count_include_pad=True"),
        (
            "half pixels",
            "device=x.device) * (size / side)",
            "device=x.device).add(0.5) * (size / side)",
        ),
        ("mean in the last block", 'if self.pool == "max":', 'if self.pool == "none":'),
    ),
    *breakages(
        "features/reference.py",
        "features/test_reference.py",
        ("the probe is not looked at", "> PROBE_TOLERANCE *", "> 1e9 *"),
        (
            "the checksum is not looked at",
            '"feature": name, "checksum": checksum}',
            '"feature": name}',
        ),
        ("shape is not data", 'f"{data.dtype} {tuple(data.shape)}".encode()', 'b""'),
    ),
    # Classifier features, packed models, exports.
    *breakages(
        "features/classifier.py",
        "features/test_classifier.py",
        (
            "no residual",
            "return x + self.second(self.first(x))",
            "return self.second(self.first(x))",
        ),
        (
            "the last layer is not folded along",
            "    plain.head.load_state_dict(network.head.state_dict())\n",
            "",
        ),
        ("probabilities over the batch", "self.fitted(x)), 1)", "self.fitted(x)), 0)"),
        (
            "nearest pixels",
            'mode="bilinear", align_corners=False, antialias=True',
            'mode="nearest"',
        ),
    ),
    *breakages(
        "features/classifier_training.py",
        "features/test_classifier.py",
        ("the least likely class", "argmax(1)", "argmin(1)"),
        ("labels of other images", "labels[rows].to(place)", "labels[: len(rows)].to(place)"),
        ("always mirrored", "generator=generator) < 0.5", "generator=generator) < 2"),
        ("a rate that stays up", "(1 - progress) / 0.8)", "1.0)"),
    ),
)
