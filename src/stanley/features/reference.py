"""The features of a data set, computed once and cached: statistics of all rows, and the first rows.

A file in the cache folder is named after the features and a checksum of the data. It is used only
if the checksum and the features of a fixed probe image are still the same, so that a changed data
set or a retrained network is computed again. Pixels are cheaper to compute than to read, so they
are never cached.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stanley.data import centre
from stanley.data.download import cache_dir
from stanley.errors import StanleyError
from stanley.files import write_atomic
from stanley.metrics import Features, FeatureStatistics, PixelFeatures

CHUNK = 512  # rows at a time through the features
FORMAT = 1
# in units of the largest feature: more than devices and precisions differ by, less than weights do
PROBE_TOLERANCE = 1e-2


@dataclass(frozen=True, eq=False)
class Reference:
    """The features of a data set of n rows.

    statistics   number, mean and covariance of the features of all rows
    rows         features of the first rows, (min(n, keep), k) in float32, for distances between
                 points
    checksum     SHA-256 of the data
    """

    statistics: FeatureStatistics
    rows: Tensor
    checksum: str


def reference_of(
    data: Tensor,
    features: Features,
    *,
    keep: int = 10_000,
    device: torch.device | str = "cpu",
    folder: Path | None = None,
) -> Reference:
    """Return the features of a data set, from the cache if they are there.

    data     (N, *event): vectors, or uint8 images, whose values are converted to the centres of
             their 8-bit cells in [-1, 1]
    keep     number of rows whose features are returned
    folder   where the features are cached; `reference` in the cache folder by default
    """
    checksum = checksum_of(data)
    if isinstance(features, PixelFeatures):
        return computed(data, features, keep, device, checksum)
    probe = probe_of(data, features, device)
    folder = cache_dir() / "reference" if folder is None else folder
    path = folder / f"{features.name}-{checksum[:16]}-{keep}.safetensors"
    reference = read(path, features.name, checksum, probe, device)
    if reference is None:
        reference = computed(data, features, keep, device, checksum)
        write(path, reference, probe)
    return reference


def computed(
    data: Tensor, features: Features, keep: int, device: torch.device | str, checksum: str
) -> Reference:
    rows: list[Tensor] = []
    statistics = None
    for part in data.split(CHUNK):
        f = features_of(part, features, device)
        empty = FeatureStatistics.empty(
            features.name, f.shape[1], "cpu" if f.device.type == "mps" else f.device
        )
        statistics = (statistics or empty).update(f)
        missing = keep - sum(map(len, rows))
        if missing > 0:
            rows.append(f[:missing].float())
    assert statistics is not None  # a data set has rows
    return Reference(statistics, torch.cat(rows), checksum)


@torch.no_grad()
def features_of(part: Tensor, features: Features, device: torch.device | str) -> Tensor:
    points = part.to(device)
    return features(centre(points) if points.dtype == torch.uint8 else points.float())


def probe_of(data: Tensor, features: Features, device: torch.device | str) -> Tensor:
    """Features of two fixed patterns of the data's shape, which identify the network."""
    ramp = torch.arange(data[0].numel(), dtype=torch.float64)
    pattern = torch.stack([(ramp * step).sin() for step in (0.37, 1.91)]).float()
    with torch.no_grad():
        return features(pattern.view(2, *data.shape[1:]).to(device)).float().cpu()


def checksum_of(data: Tensor) -> str:
    """SHA-256 of the data's dtype, shape and bytes."""
    digest = hashlib.sha256(f"{data.dtype} {tuple(data.shape)}".encode())
    for part in data.split(4096):
        digest.update(part.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def read(
    path: Path, name: str, checksum: str, probe: Tensor, device: torch.device | str
) -> Reference | None:
    """The reference in a file, or None if it is not that of these data and features."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            about = json.loads((file.metadata() or {}).get("stanley", "{}"))
            t = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, not a dict
    except (SafetensorError, OSError, ValueError):
        return None  # the file is damaged, and will be replaced
    expected = {"format": FORMAT, "feature": name, "checksum": checksum}
    if {key: about.get(key) for key in expected} != expected or t["probe"].shape != probe.shape:
        return None
    if float((t["probe"] - probe).abs().max()) > PROBE_TOLERANCE * float(probe.abs().max()):
        return None
    wide = "cpu" if torch.device(device).type == "mps" else device  # MPS has no float64
    statistics = FeatureStatistics(name, about["n"], t["mean"].to(wide), t["scatter"].to(wide))
    return Reference(statistics, t["rows"].to(device), checksum)


def write(path: Path, reference: Reference, probe: Tensor) -> None:
    from safetensors.torch import save

    s = reference.statistics
    about = {"format": FORMAT, "feature": s.feature, "checksum": reference.checksum, "n": s.n}
    tensors = {"mean": s.mean, "scatter": s.scatter, "rows": reference.rows, "probe": probe}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StanleyError(
            f"the cache folder {path.parent} cannot be written ({error.strerror}); set"
            " STANLEY_CACHE to another folder"
        ) from error
    content = save(
        {k: t.cpu().contiguous() for k, t in tensors.items()},
        metadata={"stanley": json.dumps(about)},
    )
    write_atomic(path, content)
