"""The Inception network against torch-fidelity's on the same random weights, and pieces of it
against definitions.

torch-fidelity is optional: its network file and its resize are loaded without the rest of the
package.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from stanley.data import centre
from stanley.errors import StanleyError
from stanley.features import features_named, inception, inception_features, score_names


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Random weights under the published names: He's scale, moments that are not 0 and 1."""
    g = torch.Generator().manual_seed(0)
    tensors = inception.Inception().state_dict()
    for name, t in tensors.items():
        if t.ndim == 4:
            t.copy_(torch.randn(t.shape, generator=g) * (2 / t[0].numel()) ** 0.5)
        elif name.endswith(("bn.weight", "running_var")):
            t.copy_(0.5 + torch.rand(t.shape, generator=g))
        elif t.is_floating_point():
            t.copy_(0.1 * torch.randn(t.shape, generator=g))
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(tensors, path)
    return path


@pytest.fixture(scope="module")
def features(weights) -> inception.InceptionFeatures:
    return inception_features(str(weights))


@pytest.fixture
def fidelity(monkeypatch):
    """torch_fidelity's Inception, without what its package imports besides."""
    found = importlib.util.find_spec("torch_fidelity")
    if found is None or found.submodule_search_locations is None:
        pytest.skip("torch-fidelity is not installed")
    package = types.ModuleType("torch_fidelity")
    package.__path__ = list(found.submodule_search_locations)
    defaults = types.ModuleType("torch_fidelity.defaults")
    defaults.DEFAULTS = {"verbose": False}
    for module in (package, defaults):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in (
        "helpers",
        "interpolate_compat_tensorflow",
        "feature_extractor_base",
        "feature_extractor_inceptionv3",
    ):
        monkeypatch.delitem(sys.modules, f"torch_fidelity.{name}", raising=False)
    return importlib.import_module(
        "torch_fidelity.feature_extractor_inceptionv3"
    ).FeatureExtractorInceptionV3


def images(size: int, num: int = 2) -> torch.Tensor:
    return torch.randint(
        0, 256, (num, 3, size, size), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )


@pytest.mark.parametrize("size", [32, 320])
def test_it_is_torch_fidelitys_network(fidelity, weights, features, size):
    """float32 through 94 convolutions: 1e-5 of the largest feature."""
    theirs = fidelity(
        "inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(weights)
    )
    pool, logits = theirs(images(size))
    x = centre(images(size))
    assert float((features(x) - pool).abs().max()) <= 1e-5 * float(pool.abs().max())
    torch.testing.assert_close(features.probabilities(x), logits.softmax(1), rtol=1e-3, atol=1e-6)


def test_average_pools_leave_the_padding_out(features):
    """Each cell of the 3 × 3 pool is the mean of those neighbours that exist."""
    block = features.network.Mixed_5b
    x = torch.rand(1, 192, 5, 5, generator=torch.Generator().manual_seed(0))
    mean = torch.stack(
        [
            torch.stack(
                [
                    x[:, :, max(0, i - 1) : i + 2, max(0, j - 1) : j + 2].mean((2, 3))
                    for j in range(5)
                ],
                -1,
            )
            for i in range(5)
        ],
        -2,
    )
    torch.testing.assert_close(block.pooled(x), block.branch_pool(mean), rtol=1e-4, atol=1e-5)
    padded = torch.nn.functional.avg_pool2d(x, 3, 1, 1)
    # negative control
    assert not torch.allclose(block.pooled(x), block.branch_pool(padded), rtol=1e-2)
    last = features.network.Mixed_7c
    y = torch.rand(1, 2048, 3, 3, generator=torch.Generator().manual_seed(0))
    biggest = torch.nn.functional.max_pool2d(y, 3, 1, 1)
    torch.testing.assert_close(last.pooled(y), last.branch_pool(biggest))


def test_the_resize_ignores_half_pixels():
    """A ramp along each axis stays a ramp i·H/299, held at its last value;
    torch's own resize is shifted by ½.
    """
    ramp = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 1, 6, 8)
    wide = inception.resize(ramp)[0, 0]
    torch.testing.assert_close(wide[0], (torch.arange(299.0) * 8 / 299).clamp(max=7))
    torch.testing.assert_close(inception.resize(ramp.transpose(2, 3))[0, 0], wide.T)
    assert torch.equal(inception.resize(images(299).float()), images(299).float())
    other = torch.nn.functional.interpolate(ramp, (299, 299), mode="bilinear", align_corners=False)[
        0, 0
    ]
    assert float((wide - other).abs().max()) > 0.4  # negative control


def test_grey_images_and_batches(features, monkeypatch):
    """One channel is three equal ones; chunks change nothing; bytes are what is seen,
    not the place in their cells.
    """
    grey = centre(images(16)[:, :1])
    one = features(grey)
    torch.testing.assert_close(one, features(grey.expand(-1, 3, -1, -1)))
    assert torch.equal(one, features(grey + 0.001))
    monkeypatch.setattr(inception, "CHUNK", 1)
    torch.testing.assert_close(features(grey), one, rtol=1e-4, atol=1e-4)
    with pytest.raises(StanleyError, match=r"\(2, 16, 16\)"):
        features(torch.zeros(1, 2, 16, 16))


def test_only_the_published_file_is_called_fid(weights, features, monkeypatch):
    assert features.name.startswith("inception-")
    assert score_names(features) == (f"fd_{features.name}", f"kd_{features.name}")
    monkeypatch.setattr(inception, "SHA256", inception.sha256_of(weights))
    assert score_names(inception_features(str(weights))) == ("fid", "kid")


def test_safetensors_and_files_without_counters(weights, features, tmp_path):
    tensors = {
        k: v for k, v in torch.load(weights, weights_only=True).items() if "num_batches" not in k
    }
    save_file(tensors, tmp_path / "w.safetensors")
    other = features_named(f"inception:{tmp_path / 'w.safetensors'}")
    assert torch.equal(other(centre(images(16))), features(centre(images(16))))


def test_a_file_with_other_names_is_refused_by_name(weights, tmp_path):
    tensors = torch.load(weights, weights_only=True)
    wrong = tmp_path / "wrong.pth"

    def told(changed) -> str:
        torch.save(changed, wrong)
        with pytest.raises(StanleyError) as caught:
            inception_features(str(wrong))
        message = str(caught.value)
        assert "\n" not in message
        assert str(wrong) in message
        assert "--features cifar" in message
        return message

    less = {k: v for k, v in tensors.items() if k not in ("fc.weight", "fc.bias")}
    assert "lacks 'fc.bias' and 1 more" in told(less)
    assert "has 'AuxLogits.fc.weight'" in told(tensors | {"AuxLogits.fc.weight": torch.zeros(1)})
    assert "'fc.weight' of shape (1000, 2048) for (1008, 2048)" in told(
        tensors | {"fc.weight": torch.zeros(1000, 2048)}
    )
    assert "holds a list" in told([1, 2])
    # a class: nothing but tensors is ever unpickled
    assert "cannot be read" in told(inception.Mixed)
    wrong.write_bytes(b"not weights")
    with pytest.raises(StanleyError, match="cannot be read as weights"):
        inception_features(str(wrong))


def test_missing_weights_name_the_places_and_the_alternative(tmp_path, monkeypatch):
    monkeypatch.setenv("STANLEY_CACHE", str(tmp_path))
    with pytest.raises(
        StanleyError, match=r"weights-inception-2015-12-05-6726825d\.pth.*inception:PATH.*cifar"
    ) as caught:
        features_named("inception")
    assert str(tmp_path / "inception") in str(caught.value)
    with pytest.raises(StanleyError, match=r"nowhere\.pth is no file.*cifar"):
        features_named(f"inception:{tmp_path / 'nowhere.pth'}")
    with pytest.raises(StanleyError, match="did you mean 'pixels'"):
        features_named("pixel")


def test_weights_in_the_cache_folder_are_found_and_checked_when_fetched(
    weights, tmp_path, monkeypatch
):
    monkeypatch.setenv("STANLEY_CACHE", str(tmp_path))
    place = tmp_path / "inception" / "pt_inception-2015-12-05-6726825d.pth"
    place.parent.mkdir()
    place.write_bytes(weights.read_bytes())
    assert features_named("inception").name.startswith("inception-")
    place.unlink()
    mirrors = tuple(replace(remote, base_url="http://127.0.0.1:1/") for remote in inception.FILES)
    monkeypatch.setattr(inception, "FILES", mirrors)
    with pytest.raises(StanleyError, match="cannot download"):
        features_named("inception:download")
    # SHA-256, by which it is checked
    assert all(len(bytes.fromhex(remote.checksum)) == 32 for remote in mirrors)
