"""Features of a data set, computed once and kept: their statistics over all rows, and the first
rows themselves.

A file in the cache folder is named by the features and by a checksum over the data. It is served
only if that checksum, and what the features say of a probe image, are still the same: a changed
data set or a retrained network is computed anew. Pixels are cheaper to compute than to read, and
are never kept.
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
# of the largest feature: other devices and precisions round differently, other weights more
PROBE_TOLERANCE = 1e-2


@dataclass(frozen=True, eq=False)
class Reference:
    """statistics   n, mean and covariance over all rows of the data
    rows         float32 features (min(n, keep), k) of the first ones, for distances between points
    checksum     SHA-256 over the data
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
    """The features of data (N, *event): uint8 images, taken to the centres of their cells in [-1,
    1], or vectors.

    folder   of the cache; `reference` in the cache folder unless given
    """
    checksum = checksum_of(data)
    if isinstance(features, PixelFeatures):
        return computed(data, features, keep, device, checksum)
    probe = probe_of(data, features, device)
    folder = cache_dir() / "reference" if folder is None else folder
    path = folder / f"{features.name}-{checksum[:16]}-{keep}.safetensors"
    found = read(path, features.name, checksum, probe, device)
    if found is None:
        found = computed(data, features, keep, device, checksum)
        write(path, found, probe)
    return found


def computed(
    data: Tensor, features: Features, keep: int, device: torch.device | str, checksum: str
) -> Reference:
    rows: list[Tensor] = []
    statistics = None
    for part in data.split(CHUNK):
        f = seen(part, features, device)
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
def seen(part: Tensor, features: Features, device: torch.device | str) -> Tensor:
    points = part.to(device)
    return features(centre(points) if points.dtype == torch.uint8 else points.float())


def probe_of(data: Tensor, features: Features, device: torch.device | str) -> Tensor:
    """Features of a fixed pattern of the data's shape: another network answers otherwise."""
    ramp = torch.arange(data[0].numel(), dtype=torch.float64)
    pattern = torch.stack([(ramp * step).sin() for step in (0.37, 1.91)]).float()
    with torch.no_grad():
        return features(pattern.view(2, *data.shape[1:]).to(device)).float().cpu()


def checksum_of(data: Tensor) -> str:
    """SHA-256 over type, shape and every byte of the data."""
    digest = hashlib.sha256(f"{data.dtype} {tuple(data.shape)}".encode())
    for part in data.split(4096):
        digest.update(part.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def read(
    path: Path, name: str, checksum: str, probe: Tensor, device: torch.device | str
) -> Reference | None:
    """What the file holds if it belongs to these data and features, else None."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            about = json.loads((file.metadata() or {}).get("stanley", "{}"))
            t = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, not a dict
    except (SafetensorError, OSError, ValueError):
        return None  # damaged: it is written anew
    expected = {"format": FORMAT, "feature": name, "checksum": checksum}
    if {key: about.get(key) for key in expected} != expected or t["probe"].shape != probe.shape:
        return None
    if float((t["probe"] - probe).abs().max()) > PROBE_TOLERANCE * float(probe.abs().max()):
        return None
    place = "cpu" if torch.device(device).type == "mps" else device
    statistics = FeatureStatistics(name, about["n"], t["mean"].to(place), t["scatter"].to(place))
    return Reference(statistics, t["rows"].to(device), checksum)


def write(path: Path, found: Reference, probe: Tensor) -> None:
    from safetensors.torch import save

    s = found.statistics
    about = {"format": FORMAT, "feature": s.feature, "checksum": found.checksum, "n": s.n}
    tensors = {"mean": s.mean, "scatter": s.scatter, "rows": found.rows, "probe": probe}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StanleyError(
            f"cache folder {path.parent} cannot be written: {error.strerror}; set STANLEY_CACHE to"
            " another"
        ) from error
    content = save(
        {k: t.cpu().contiguous() for k, t in tensors.items()},
        metadata={"stanley": json.dumps(about)},
    )
    write_atomic(path, content)
