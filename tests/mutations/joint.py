"""Breakages of gradients without autograd: rules, what is refused, who uses them."""

from __future__ import annotations

from tests.mutations.mutation import Mutation, breakages

MUTATIONS: tuple[Mutation, ...] = (
    *breakages(
        "networks/by_hand.py",
        "networks/test_by_hand.py",
        ("product the wrong way round", "times(weight)", "times(weight.t())"),
        ("groups of another layer", "layer.groups, only_input", "1 + layer.groups, only_input"),
        ("hooks not seen", "not any(own[name] for name in HOOKS)", "True"),
        ("hooks of all modules not seen", "not everywhere", "True"),
        (
            "subclasses taken",
            "RULES.get(type(layer))",
            "next((r for kind, r in RULES.items() if isinstance(layer, kind)), None)",
        ),
        ("a forward in its place", '"forward" not in own', "True"),
        ("other padding", 'layer.padding_mode != "zeros"', "False"),
    ),
    *breakages(
        "products.py",
        "test_products.py",
        ("never by oneDNN", "return same and", "return False and"),
        ("whatever the bits", "same = torch.equal(quick(a), plain(a))", "same = True"),
        ("wherever matrices begin", "a.data_ptr() % ALIGNED == 0", "True"),
        (
            "the bias forgotten",
            "mkldnn._linear_pointwise(a, turned, bias,",
            "mkldnn._linear_pointwise(a, turned, None,",
        ),
        ("graphs as they are", ">= NARROW and gains(*like):", ">= NARROW and False:"),
        ("few columns as they are", "elif not bias and right[1] < NARROW", "elif False"),
    ),
    *breakages(
        "networks/mlp.py",
        "networks/test_by_hand.py",
        ("features without the straight part", "return straight + torch.mm", "return torch.mm"),
        ("sign of the cosine's derivative", "* scale * -sin", "* scale * sin"),
        ("a subclass of the network", "type(self) is not MLPEnergy or", ""),
    ),
    *breakages(
        "networks/reference.py",
        "networks/test_by_hand.py",
        ("gradient of the reference", "rows * (2 * x)", "rows * x"),
        ("three terms in any order", "or takes_x_twice", ""),
    ),
    *breakages(
        "samplers/joint.py",
        "networks/test_by_hand.py",
        ("temperature on the way back", "pull(v / temperature)", "pull(v)"),
        ("autocast not seen", "torch.is_autocast_enabled(x.device.type)", "False"),
        ("functorch not seen", "torch._C._functorch.peek_interpreter_stack() is not None", "False"),
        ("modes not seen", "torch._C._len_torch_dispatch_stack() > 0", "False"),
        ("function modes not seen", "torch._C._len_torch_function_stack() > 0", "False"),
        ("weights of another type", "w.dtype != x.dtype or", ""),
    ),
    *breakages(
        "samplers/base.py",
        "networks/test_by_hand.py",
        (
            "points in any layout",
            "isinstance(potential, KnowsGradient) and x.is_contiguous()",
            "isinstance(potential, KnowsGradient)",
        ),
        ("nobody uses it", "isinstance(potential, KnowsGradient) and", "False and"),
    ),
)
