"""Cached features: equal to computed ones, never those of other data,
another network or another map.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from stanley.data import centre
from stanley.errors import StanleyError
from stanley.features import PixelFeatures, reference_of
from stanley.metrics import FeatureStatistics


@dataclass
class Counting:
    """Two sums of an image, times a weight; counts the rows it has seen."""

    weight: float = 1.0
    name: str = "sums"
    rows: list[int] = field(default_factory=list)

    def __call__(self, x: Tensor) -> Tensor:
        self.rows.append(len(x))
        return self.weight * torch.stack([x.flatten(1).sum(1), x[:, :, 0].flatten(1).sum(1)], 1)


@pytest.fixture
def data() -> Tensor:
    return torch.randint(
        0, 256, (600, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )


def same(a, b) -> None:
    assert a.statistics.n == b.statistics.n
    assert a.checksum == b.checksum
    for x, y in (
        (a.statistics.mean, b.statistics.mean),
        (a.statistics.scatter, b.statistics.scatter),
        (a.rows, b.rows),
    ):
        assert torch.equal(x, y)


def test_the_second_time_is_read_and_is_the_same(data, tmp_path):
    features = Counting()
    first = reference_of(data, features, keep=100, folder=tmp_path)
    expected = FeatureStatistics.of([centre(data)], Counting())
    torch.testing.assert_close(
        first.statistics.covariance, expected.covariance, rtol=1e-6, atol=1e-9
    )
    assert first.statistics.n == 600
    assert torch.equal(first.rows, Counting()(centre(data[:100])).float())
    seen = sum(features.rows)
    assert seen == 602  # all rows and the probe
    same(reference_of(data, features, keep=100, folder=tmp_path), first)
    assert sum(features.rows) == seen + 2  # the probe alone
    assert len(list(tmp_path.iterdir())) == 1


def test_changed_data_are_never_served_old_features(data, tmp_path):
    first = reference_of(data, Counting(), folder=tmp_path)
    changed = data.clone()
    changed[599, 2, 3, 3] ^= 1  # one bit of the last byte
    second = reference_of(changed, Counting(), folder=tmp_path)
    assert first.checksum != second.checksum
    assert not torch.equal(first.rows, second.rows)
    for other in (data.view(600, 3, 2, 8), data.float()):
        assert reference_of(other, Counting(), folder=tmp_path).checksum not in (
            first.checksum,
            second.checksum,
        )
    assert len(list(tmp_path.iterdir())) == 4


def test_a_file_of_other_data_under_the_right_name_is_not_believed(data, tmp_path):
    first = reference_of(data, Counting(), folder=tmp_path)
    (right,) = tmp_path.iterdir()
    reference_of(data.flip(0), Counting(), folder=tmp_path / "other")
    (wrong,) = (tmp_path / "other").iterdir()
    right.write_bytes(wrong.read_bytes())
    same(reference_of(data, Counting(), folder=tmp_path), first)


def test_another_network_under_the_same_name_is_noticed(data, tmp_path):
    reference_of(data, Counting(), folder=tmp_path)
    retrained = reference_of(data, Counting(1.5), folder=tmp_path)
    assert torch.equal(retrained.rows, Counting(1.5)(centre(data)).float())
    rounding = Counting(1.5 * (1 + 1e-5))  # another device, the same network
    reference_of(data, rounding, folder=tmp_path)
    assert sum(rounding.rows) == 2


@pytest.mark.parametrize("damage", [b"", b"\x00" * 50, None])
def test_a_damaged_file_is_written_anew(data, tmp_path, damage):
    first = reference_of(data, Counting(), folder=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:200] if damage is None else damage)
    same(reference_of(data, Counting(), folder=tmp_path), first)
    features = Counting()
    same(reference_of(data, features, folder=tmp_path), first)
    assert sum(features.rows) == 2


def test_pixels_are_not_kept(data, tmp_path):
    found = reference_of(data, PixelFeatures(2), keep=7, folder=tmp_path)
    assert found.rows.shape == (7, 12)
    assert not list(tmp_path.iterdir())
    vectors = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(reference_of(vectors, PixelFeatures(), folder=tmp_path).rows, vectors)


def test_a_cache_folder_that_cannot_be_written_is_told(data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StanleyError, match="set STANLEY_CACHE"):
        reference_of(data, Counting(), folder=tmp_path / "file" / "reference")
