"""PSNR by hand; SSIM against loops over windows that share no code with it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from stanley.errors import StanleyError
from stanley.metrics import psnr, ssim
from tests.seeds import RNG


def test_psnr_by_hand():
    """A difference of 0.2 everywhere, L = 2: 20·log₁₀ 10 = 20 dB. Half of it right:
    10·log₁₀ 2 more.
    """
    truth = torch.randn(2, 1, 4, 4, dtype=torch.float64)
    x = truth + 0.2
    assert psnr(x, truth).tolist() == pytest.approx([20.0, 20.0])
    x[..., :2] = truth[..., :2]
    assert psnr(x, truth).tolist() == pytest.approx([20 + 10 * math.log10(2)] * 2)
    wrong = torch.zeros(4, 4, dtype=torch.bool)
    wrong[:, 2:] = True
    assert psnr(x, truth, where=wrong).tolist() == pytest.approx([20.0, 20.0])
    assert psnr(truth, truth).tolist() == [math.inf, math.inf]
    assert psnr(truth + 0.2, truth, data_range=1).tolist() == pytest.approx(
        [20 - 20 * math.log10(2)] * 2
    )


def by_loops(x: np.ndarray, y: np.ndarray, data_range: float, sigma: float = 1.5) -> float:
    """One channel: weighted moments about the mean of each 11×11 window,
    one window after the other.
    """
    weights = np.array(
        [
            [math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / (2 * sigma**2)) for j in range(11)]
            for i in range(11)
        ]
    )
    weights /= weights.sum()
    c1, c2, values = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2, []
    for top in range(x.shape[0] - 10):
        for left in range(x.shape[1] - 10):
            a, b = x[top : top + 11, left : left + 11], y[top : top + 11, left : left + 11]
            ma, mb = (weights * a).sum(), (weights * b).sum()
            va, vb = (weights * (a - ma) ** 2).sum(), (weights * (b - mb) ** 2).sum()
            cov = (weights * (a - ma) * (b - mb)).sum()
            values.append(
                (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
            )
    return float(np.mean(values))


@pytest.mark.parametrize(
    ("shape", "data_range"), [((2, 3, 14, 12), 2.0), ((1, 1, 11, 11), 2.0), ((2, 1, 13, 16), 255.0)]
)
def test_ssim_is_that_of_the_loops(shape, data_range):
    truth = RNG.uniform(-1, 1, shape) * data_range / 2
    x = 0.7 * truth + RNG.normal(0, 0.1 * data_range, shape)
    expected = [
        np.mean([by_loops(x[n, c], truth[n, c], data_range) for c in range(shape[1])])
        for n in range(shape[0])
    ]
    found = ssim(torch.from_numpy(x), torch.from_numpy(truth), data_range=data_range)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-10)
    wrong = np.mean(
        [by_loops(x[0, c], truth[0, c], data_range, sigma=2.0) for c in range(shape[1])]
    )
    assert abs(float(found[0]) - wrong) > 1e-6  # negative control: another window is seen


def test_ssim_of_equals_and_strangers():
    x = torch.randn(3, 3, 16, 16)
    assert ssim(x, x).tolist() == pytest.approx([1.0] * 3, abs=1e-12)
    assert (ssim(torch.randn(3, 3, 16, 16), x) < 0.5).all()
    torch.testing.assert_close(ssim(x, x.flip(0)), ssim(x.flip(0), x))


def test_images_that_do_not_fit():
    for x, y, message in (
        (torch.zeros(1, 1, 12, 12), torch.zeros(1, 1, 12, 13), "must agree"),
        (torch.zeros(1, 1, 10, 12), torch.zeros(1, 1, 10, 12), "at least 11×11"),
        (torch.zeros(2, 5), torch.zeros(2, 5), "needs images"),
    ):
        with pytest.raises(StanleyError, match=message):
            ssim(x, y)
    with pytest.raises(StanleyError, match="no pixel"):
        psnr(
            torch.ones(1, 1, 2, 2),
            torch.zeros(1, 1, 2, 2),
            where=torch.zeros(2, 2, dtype=torch.bool),
        )
