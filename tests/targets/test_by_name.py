"""Densities by name and by Python function: what is found, with which shape and type,
and what is refused.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from stanley.errors import StanleyError
from stanley.targets import Banana, Gaussian
from stanley.targets.by_name import find
from stanley.targets.named import TARGETS
from tests.seeds import stream

SOURCE = """
import torch

def U(x):
    return x.flatten(1).square().sum(1) / 2

def shaped(x):
    return U(x)
shaped.event_shape = (3, 4, 4)

def per_coordinate(x):
    return x

def text(x):
    return "1"

def three(x):
    return (x @ torch.eye(3, dtype=x.dtype)).square().sum(1)

class Energy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, x):
        return self.layer(x)[:, 0]

def centred(x):
    return U(x - x.mean(0))

def one(x):
    return x[0] ** 2 / 2 + x[1] ** 2 / 2

def log_p(x):
    return -U(x)

law = torch.distributions.Gamma(2.0, 3.0)
normal = torch.distributions.Normal(torch.zeros(2), torch.ones(2))
net = Energy()
number = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of the user's in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "users_own", raising=False)
    (tmp_path / "users_own.py").write_text(SOURCE)
    return tmp_path / "users_own.py"


@pytest.mark.parametrize("name", TARGETS)
def test_a_name_is_that_target(name):
    density = find(name)
    assert density.event_shape == density.potential.event_shape
    assert density.initial(3, stream()).shape == (3, *density.event_shape)


def test_starts_have_the_width_that_was_asked_for():
    one, two = (find("banana", start_std=s).initial(5, stream()) for s in (1.0, 2.5))
    assert torch.equal(2.5 * one, two)
    assert one.dtype == torch.float64


@pytest.mark.parametrize("how", ["users_own:U", "users_own.py:U"])
def test_a_function_of_the_current_folder(module, how):
    density = find(how, shape=(5,))
    x = density.initial(4, stream(1))
    torch.testing.assert_close(density.potential(x), Gaussian.from_std(torch.ones(5))(x))


def test_nothing_is_imported_that_was_not_named(module):
    find("banana")
    assert "users_own" not in sys.modules


def test_a_function_may_know_its_shape(module):
    assert find("users_own:shaped").event_shape == (3, 4, 4)
    assert find("users_own:shaped", shape=(3, 2, 2)).event_shape == (3, 2, 2)


def test_a_network_keeps_its_type_and_its_weights_get_no_gradients(module):
    density = find("users_own:net", shape=(2,))
    assert density.dtype == torch.float32
    assert not any(p.requires_grad for p in density.potential.parameters())
    with pytest.raises(StanleyError, match="failed on points"):
        find("users_own:net", shape=(2,), dtype="float64")


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("bananna", {}, "did you mean 'banana'"),
        ("zzz", {}, "module:function"),
        ("banana", {"shape": (2,)}, "shape of its own"),
        ("banana", {"start_std": 0.0}, "start_std is 0.0"),
        ("nowhere:U", {}, "cannot import nowhere"),
        ("users_own:V", {"shape": (2,)}, "no 'V'"),
        ("users_own:shape", {"shape": (2,)}, "did you mean 'shaped'"),
        ("users_own:", {}, "must be module:function"),
        ("missing.py:U", {}, "missing.py is not a file"),
        ("broken.py:U", {}, "ZeroDivisionError"),
        ("users_own:number", {"shape": (2,)}, "no function but int"),
        ("users_own:Energy", {"shape": (2,)}, "is the class Energy, make an instance"),
        ("users_own.py", {"shape": (2,)}, "give users_own.py:FUNCTION"),
        ("users_own:centred", {"shape": (2,)}, "for the same point alone"),
        ("users_own:U", {}, "give it, for example --shape"),
        ("banana", {"log_density": True}, "leave out --log-density"),
        ("users_own:U", {"shape": (0,)}, r"shape is \(0,\)"),
        ("users_own:per_coordinate", {"shape": (2,)}, r"returned shape \(3, 2\)"),
        ("users_own:text", {"shape": (2,)}, "returned str"),
        ("users_own:three", {"shape": (4,)}, r"failed on points of shape \(2, 4\)"),
    ],
)
def test_what_cannot_be_found_is_one_line(module, name, options, told):
    (module.parent / "broken.py").write_text("1 / 0\n")
    with pytest.raises(StanleyError, match=told) as caught:
        find(name, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("users_own:one", {"shape": (2,)}),
        ("users_own:log_p", {"shape": (2,), "log_density": True}),
        ("users_own:normal", {}),
        ("users_own:normal", {"log_density": True}),
    ],
)
def test_a_function_of_a_single_point_a_log_density_and_a_distribution(module, name, options):
    """All of them are N(0, I), up to a constant."""
    density = find(name, **options)
    x = density.initial(5, stream(2))
    known = density.potential(x) - Gaussian.from_std(torch.ones(2))(x)
    torch.testing.assert_close(known, known[:1].expand(5))


def test_a_log_density_of_a_network_has_its_type(module):
    density = find("users_own:net", shape=(2,), log_density=True)
    assert density.dtype == torch.float32
    x = density.initial(4, stream())
    assert torch.equal(density.potential(x), -find("users_own:net", shape=(2,)).potential(x))


def test_a_distribution_of_positive_numbers_is_sampled_without_constraint(module):
    density = find("users_own:law")
    assert density.event_shape == (1,)
    assert (density.potential.parameters.constrain(density.initial(9, stream()))["x"] > 0).all()


def test_a_target_is_the_class_itself():
    assert find("banana").potential == Banana()
