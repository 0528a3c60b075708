"""Chain augmentation: each transformation does what its formula says,
with the frequencies it says, and no other.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from stanley.data import Dataset
from stanley.errors import StanleyError
from stanley.networks import ConvNet
from stanley.ranks import World
from stanley.samplers import GradientDescent
from stanley.training.augment import Augment, shifted, zoomed
from stanley.training.bank import restart
from stanley.training.config import TrainConfig
from stanley.training.state import TrainState
from stanley.training.step import negative_batch
from tests.conftest import changed
from tests.seeds import stream


def generator(seed: int = 0) -> torch.Generator:
    return stream(seed)


def images(n: int = 4, channels: int = 3, size: int = 8) -> Tensor:
    return (
        torch.rand((n, channels, size, size), generator=generator(1), dtype=torch.float64) * 2 - 1
    )


def close_to(count: int, n: int, p: float) -> bool:
    """Within five standard deviations of a binomial: false in less than one run in a million."""
    return abs(count - n * p) < 5 * (n * p * (1 - p)) ** 0.5


def test_half_of_the_chains_are_mirrored_and_none_is_anything_else() -> None:
    x = images(1).expand(2000, -1, -1, -1)
    y = Augment(flip=True)(x, generator())
    mirrored = (y == x.flip(-1)).flatten(1).all(1)
    assert torch.equal(mirrored | (y == x).flatten(1).all(1), torch.ones(2000, dtype=torch.bool))
    assert close_to(int(mirrored.sum()), 2000, 0.5)


def test_chance_is_the_share_that_is_transformed() -> None:
    x = images(1).expand(2000, -1, -1, -1)
    y = Augment(colour=0.5, chance=0.3)(x, generator())
    assert close_to(int((y != x).flatten(1).any(1).sum()), 2000, 0.3)


def test_every_shift_is_as_likely_and_exact() -> None:
    """A whole number of pixels: away from the border it is a roll,
    at the border the last row or column is repeated.
    """
    n, s = 5000, 1
    x = images(1)
    y = Augment(shift=s)(x.expand(n, -1, -1, -1), generator())
    found = 0
    padded = torch.nn.functional.pad(x, (s, s, s, s), mode="replicate")
    for dy in range(-s, s + 1):
        for dx in range(-s, s + 1):
            there = padded[..., s - dy : s - dy + 8, s - dx : s - dx + 8]
            count = int((y == there).flatten(1).all(1).sum())
            assert close_to(count, n, 1 / 9), (dy, dx)
            found += count
            assert torch.equal(there, shifted(x, torch.tensor([[dy, dx]])))
    assert found == n


def test_zoom_is_exact_on_ramps() -> None:
    """Bilinear interpolation keeps α + βv + γu: x'(u, v) is the ramp at centre + a·(u, v), in
    coordinates of [-1, 1].

    Tolerance: some roundings of numbers below 4 in float64.
    """
    size, side, place = (
        16,
        torch.tensor([0.5, 0.75]).double(),
        torch.tensor([[0.2, -0.4], [-0.6, 0.1]]).double(),
    )
    pixels = (torch.arange(size).double() + 0.5) * 2 / size - 1
    v, u = torch.meshgrid(pixels, pixels, indexing="ij")
    x = (0.3 + 2 * v - u).expand(2, 1, size, size)
    centre = (1 - side[:, None]) * place
    at_u, at_v = (centre[:, i, None, None] + side[:, None, None] * c for i, c in enumerate((u, v)))
    expected = 0.3 + 2 * at_v - at_u
    assert (zoomed(x, side, place)[:, 0] - expected).abs().max() < 1e-13


def test_zoomed_windows_lie_inside_the_image_and_have_the_sizes_they_say() -> None:
    """A ramp shows its window: slope a, and values that are those of the image."""
    size, n = 16, 500
    ramp = ((torch.arange(size).double() + 0.5) * 2 / size - 1).expand(n, 1, size, size)
    y = Augment(zoom=0.5)(ramp, generator())[:, 0, 0]
    side = (y[:, size // 2] - y[:, size // 2 - 1]) * size / 2
    assert float(side.min()) >= 0.5 - 1e-12
    assert float(side.max()) <= 1 + 1e-12
    assert close_to(int((side < 0.75).sum()), n, 0.5)
    assert float(y.abs().max()) <= 1


def test_colour_is_one_saturation_one_contrast_and_one_brightness_per_image() -> None:
    kappa = 0.2
    x = images(500)
    y = Augment(colour=kappa)(x, generator())
    grey, grey_after = x.mean(1), y.mean(1)
    mean, mean_after = grey.mean((1, 2)), grey_after.mean((1, 2))
    brightness = mean_after - mean
    light, colour = grey - mean[:, None, None], x - grey[:, None]
    light_after, colour_after = grey_after - mean_after[:, None, None], y - grey_after[:, None]
    # least squares over the pixels
    contrast = (light_after * light).sum((1, 2)) / (light**2).sum((1, 2))
    # contrast times saturation
    both = (colour_after * colour).sum((1, 2, 3)) / (colour**2).sum((1, 2, 3))
    for factor, centre in ((brightness, 0.0), (contrast, 1.0), (both / contrast, 1.0)):
        assert float((factor - centre).abs().max()) < kappa + 1e-9
        assert close_to(int((factor > centre).sum()), 500, 0.5)
        assert close_to(int(((factor - centre).abs() > kappa / 2).sum()), 500, 0.5)
    # twenty roundings of numbers below 4
    assert (light_after - contrast[:, None, None] * light).abs().max() < 1e-14
    assert (colour_after - both[:, None, None, None] * colour).abs().max() < 1e-14


def test_the_same_generator_gives_the_same_and_another_does_not() -> None:
    x, augment = images(), Augment(shift=2, zoom=0.2, colour=0.1)
    assert torch.equal(augment(x, generator(3)), augment(x, generator(3)))
    assert not torch.equal(augment(x, generator(3)), augment(x, generator(4)))


@pytest.mark.parametrize("restarted", [0.0, 1.0])
def test_training_transforms_what_the_bank_gave_and_not_fresh_noise(
    small: TrainConfig, restarted: float
) -> None:
    """With a sampler that stands still the chains end where they start: the transformed slots,
    or the noise.
    """
    config = changed(
        small,
        network=ConvNet(width=2),
        sampler=GradientDescent(1e-30),
        adapt=None,
        restart=restarted,
        augment=Augment(shift=2),
    )
    data = Dataset((images(8) * 100 + 128).to(torch.uint8), images(8))
    state = TrainState(config, data, World())
    draws = generator().set_state(state.chain_generator.get_state())
    slots, x0 = state.bank.draw(config.batch, draws)
    x0 = Augment(shift=2)(x0, draws)
    coins = torch.rand(config.batch, generator=draws)
    x0 = restart(x0, coins < restarted, state.noise, draws)
    negative_batch(config, state, torch.zeros(config.batch, 3, 8, 8))
    assert torch.equal(state.bank.positions[slots], x0)


class TestBadValues:
    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({}, "nothing switched on"),
            ({"shift": -1}, r"objective\.augment\.shift is -1"),
            ({"zoom": 1.0}, r"objective\.augment\.zoom is 1\.0"),
            ({"colour": -0.1}, r"objective\.augment\.colour is -0\.1"),
            ({"flip": True, "chance": 0.0}, r"objective\.augment\.chance is 0\.0"),
        ],
    )
    def test_fields(self, fields: dict[str, float], message: str) -> None:
        with pytest.raises(StanleyError, match=message):
            Augment(**fields)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("augment", "data", "message"),
        [
            (
                Augment(shift=1),
                Dataset(torch.zeros(4, 2), torch.zeros(4, 2)),
                r"points of shape \(2,\)",
            ),
            (Augment(flip=True), Dataset(images(), images(), flip=False), "their flip is off"),
            (Augment(shift=5), Dataset(images(), images()), "at most 4, half the image"),
            (Augment(colour=0.1), Dataset(images(channels=1), images()), r"1 channel\(s\), not 3"),
        ],
    )
    def test_data_without_a_meaning_for_it(
        self, augment: Augment, data: Dataset, message: str
    ) -> None:
        with pytest.raises(StanleyError, match=message):
            augment.check(data)
        Augment(flip=True, shift=4, colour=0.1).check(Dataset(images(), images(), flip=True))

    def test_training_on_such_data_is_refused(self, small: TrainConfig) -> None:
        data = small.data.load()
        with pytest.raises(StanleyError, match=r"objective\.augment transforms images"):
            TrainState(changed(small, augment=Augment(shift=1)), data, World())

    def test_without_a_bank(self, small: TrainConfig) -> None:
        with pytest.raises(StanleyError, match="chains start from 'noise'"):
            changed(small, start="noise", augment=Augment(shift=1))
