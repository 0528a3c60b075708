"""How the step of a chain is carried out: eagerly, compiled, or as a replayed CUDA graph.

eager    Python and autograd, operation by operation.
compile  the step is traced once into a graph of tensor operations, gradient included, and compiled;
         steps on vectors also eight at a time (`blocks.py`), trajectories of a length that is
         drawn anew in blocks of leapfrog steps (`trajectories.py`).
graph    the same traced step, captured as a CUDA graph: one launch a step.
auto     eager, until something better has been measured: compiling takes 5 to 40 s and saves a
         sixth of the time of networks so small that Python is felt, nothing of convolutions
         (docs/performance.md); graphs have not been run.

All rungs take the same random numbers in the same order (`noise.py`). The traced step does the same
operations as the eager one, so `graph` differs by nothing but the order of the device's sums, and
`compile` by the rounding of fused operations. Weights are read where they lie: an optimiser that
updates them in place, as those of torch do, is seen.

The step must be a function of tensors: what is read as a Python number while tracing (a
temperature, an attribute of a user's function) is kept. The step size is an input, so adaptation
traces nothing anew. A sampler that counts its steps (replica exchange, bias-corrected RMSprop)
cannot be traced: the run falls back to eager and says so once, as it does when the compiler fails.
"""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.nn.utils import parametrize
from torch.utils import _pytree as pytree

from stanley import products
from stanley.device import widest_float
from stanley.errors import StanleyError, require
from stanley.samplers.base import ChainState, Sampler, StepInfo
from stanley.samplers.noise import Draw, Recorder, Tape
from stanley.samplers.preconditioned import Preconditioned
from stanley.samplers.traits import traits_of, with_step_size, wrapped_by
from stanley.types import Energy, networks_in

Execution = Literal["auto", "eager", "compile", "graph"]
Step = Callable[[ChainState, torch.Generator], tuple[ChainState, StepInfo]]
#: What is traced: (sampler, potential, carried, generator) -> (carried, what is told of it), of
#: which `carried` goes into the next call. Its first tensor is x.
Act = Callable[[Sampler, Energy, Any, Any], tuple[Any, Any]]
Call = Callable[[Any, torch.Generator], tuple[Any, Any]]  # the same of one sampler and potential

KEPT = 16  # traced acts that are remembered, the last used
LONGEST = 2000  # operations in several steps, which take some 10 s to compile; not more
CACHE: OrderedDict[Any, Any] = OrderedDict()  # what was traced, or why nothing was: a str


def stepper(execution: Execution, sampler: Sampler, potential: Energy, x0: Tensor) -> Step:
    """The sampler's step on this potential, carried out as asked.

    Raises StanleyError for an unknown `execution`, and for 'graph' where the chains are not on
    CUDA.
    """
    check_execution(execution, x0)
    eager = partial(sampler.step, potential)
    if execution in ("auto", "eager"):
        return eager
    return traced(execution, one_step, sampler, potential, eager)


def one_step(
    sampler: Sampler, potential: Energy, state: ChainState, generator: Any
) -> tuple[ChainState, StepInfo]:
    return sampler.step(potential, state, generator)


def traced(rung: str, act: Act, sampler: Sampler, potential: Energy, plain: Call) -> Call:
    """The act of this sampler and potential, traced by the first call that can be; `plain`, which
    does the same, where that is not possible.
    """
    found: list[Call] = []  # what the run goes on with, from the first call that settles it

    def call(carried: Any, generator: torch.Generator) -> tuple[Any, Any]:
        if not found:
            try:
                known = lookup(rung, act, sampler, potential, carried, generator)
            except NewMemory:  # only the first step of a run is like this
                return plain(carried, generator)
            found.append(plain if known is None else known.of(sampler))
        return found[0](carried, generator)

    return call


def check_execution(execution: str, x0: Tensor) -> None:
    known = get_args(Execution)
    require(execution in known, f"execution is {execution!r}, must be one of {', '.join(known)}")
    cuda = x0.device.type == "cuda"
    require(
        execution != "graph" or cuda,
        f"execution='graph' captures CUDA graphs and the chains are on {x0.device}; use 'compile'"
        " or 'eager'",
    )


def lookup(
    rung: str,
    act: Act,
    sampler: Sampler,
    potential: Energy,
    carried: Any,
    generator: torch.Generator,
) -> Traced | None:
    """The traced act for chains like these, traced now if it is the first time;
    None where it cannot be had.
    """
    return remembered(
        rung,
        (act, *key_of(sampler, potential, carried)),
        lambda: trace(rung, act, sampler, potential, carried, generator),
    )


def remembered(rung: str, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
    """What `make` makes, made now if it is the first time; None, and told once, where it fails."""
    key = (rung, *key)
    try:
        hash(key)
    except TypeError as error:
        raise StanleyError(
            f"execution={rung!r} remembers what it traced, and this potential or sampler has no"
            f" hash ({error}); use a function, a module or a frozen dataclass, or execution='eager'"
        ) from None
    if key not in CACHE:
        try:
            CACHE[key] = make()
        except NewMemory:
            raise
        except Exception as error:  # the compiler's, the tracer's or the user's: eager does without
            known = isinstance(error, NotTraceable)
            CACHE[key] = (
                str(error)
                if known
                else f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
            )
            warnings.warn(
                f"execution={rung!r} is not possible, going on eagerly: {CACHE[key]}", stacklevel=6
            )
        while len(CACHE) > KEPT:
            CACHE.popitem(last=False)
    CACHE.move_to_end(key)
    found = CACHE[key]
    return None if isinstance(found, str) else found


def is_traced(
    rung: str, sampler: Sampler, potential: Energy, state: ChainState, generator: torch.Generator
) -> bool:
    """Whether a step alone from such a state could be traced."""
    try:
        return lookup(rung, one_step, sampler, potential, state, generator) is not None
    except NewMemory:
        return False


def key_of(sampler: Sampler, potential: Energy, carried: Any) -> tuple[Any, ...]:
    """What a traced act depends on: all but the step size, a scale and the values of tensors.

    The network itself is part of the key, so that it lives as long as its graph. Its training mode
    is, too. Two wrappings (`Potential`, made anew in every training iteration) of one network at
    one temperature are equal.
    """
    leaves, structure = pytree.tree_flatten(carried)
    return kind_of(sampler), *key_of_potential(potential), structure, *like(leaves)


def kind_of(sampler: Sampler) -> Any:
    """The sampler without its step size and its scale."""
    if isinstance(sampler, Preconditioned):
        return type(sampler), kind_of(sampler.sampler)
    return with_step_size(sampler, 1.0)


def key_of_potential(potential: Energy) -> tuple[Any, ...]:
    training = tuple(network.training for network in networks_in(potential))
    return potential, training


def like(values: Iterable[Any]) -> Iterator[Any]:
    """What a graph takes for granted of its inputs."""
    for v in values:
        yield (tuple(v.shape), v.dtype, v.device) if isinstance(v, Tensor) else type(v)


class NotTraceable(StanleyError):
    """The step is no function of tensors; the message says why."""


class NewMemory(Exception):
    """The state after this step has parts that the state before it has not."""


@dataclass(frozen=True)
class Traced:
    """An act as a function of tensors: those of what is carried, the step size and the scales of
    `Preconditioned`, the random numbers -> what is carried and what is told.
    """

    run: Callable[..., list[Tensor]]
    draws: list[Draw]
    structure: Any  # of (carried, told)
    constants: dict[int, Any]  # what is no tensor among the leaves of (carried, told)

    def of(self, sampler: Sampler) -> Call:
        """The act of a sampler that differs from the traced one in nothing but these."""
        places = range(self.structure.num_leaves)
        own: list[Tensor] = []  # read once a run

        def act(carried: Any, generator: torch.Generator) -> tuple[Any, Any]:
            tensors = tensors_of(carried)
            if not own:
                own.extend(numbers_of(sampler, tensors[0]))
            numbers = [draw.draw(generator) for draw in self.draws]
            outputs = iter(self.run(*tensors, *own, *numbers))
            leaves = [self.constants[i] if i in self.constants else next(outputs) for i in places]
            return pytree.tree_unflatten(leaves, self.structure)

        return act


def trace(
    rung: str,
    act: Act,
    sampler: Sampler,
    potential: Energy,
    carried: Any,
    generator: torch.Generator,
) -> Traced | None:
    """Run the act to see what it draws and returns, and again as tensor operations;
    the generator is put back. None for more than `LONGEST` operations.
    """
    reason = traits_of(sampler).not_traceable
    if reason is not None:
        raise NotTraceable(reason)
    before, recorder = generator.get_state(), Recorder(generator)
    try:
        result = act(sampler, potential, carried, recorder)
    finally:
        generator.set_state(before)
    leaves, structure = pytree.tree_flatten(result)
    old, old_structure = pytree.tree_flatten(carried)
    new, new_structure = pytree.tree_flatten(result[0])
    if old_structure != new_structure or [isinstance(v, Tensor) for v in old] != [
        isinstance(v, Tensor) for v in new
    ]:
        raise NewMemory
    if any(not isinstance(a, Tensor) and a != b for a, b in zip(old, new, strict=True)):
        raise NotTraceable(
            f"{type(sampler).__name__} carries a number of its own from step to step"
        )

    def function(*inputs: Tensor) -> list[Tensor]:
        held = iter(inputs)
        again = pytree.tree_unflatten(
            [next(held) if isinstance(v, Tensor) else v for v in old], old_structure
        )
        kernel = with_numbers(sampler, held)
        return tensors_of(act(kernel, potential, again, Tape(held)))

    tensors = tensors_of(carried)
    numbers = [draw.draw(torch.Generator(draw.device)) for draw in recorder.draws]
    inputs = (*tensors, *numbers_of(sampler, tensors[0]), *numbers)
    graph = graph_of(function, inputs)
    if act is not one_step and len(graph.graph.nodes) > LONGEST:
        return None
    run: Callable[..., list[Tensor]] = graph
    if rung == "compile":
        run = compiled(graph, inputs)
    if rung == "graph":
        run = captured(graph, inputs)
    run(*inputs)  # compiles now, so that a failure is seen here
    return Traced(
        run,
        recorder.draws,
        structure,
        {i: v for i, v in enumerate(leaves) if not isinstance(v, Tensor)},
    )


def graph_of(function: Callable[..., Any], inputs: tuple[Tensor, ...]) -> GraphModule:
    """The function of tensors as a graph of tensor operations."""
    from torch.fx.experimental.proxy_tensor import make_fx

    with weights_computed_anew():
        graph = make_fx(function)(*inputs)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


@contextmanager
def weights_computed_anew() -> Iterator[None]:
    """Without the cache of `nn.utils.parametrize.cached`: a normalised weight that lies in it would
    be a constant of the graph, and stay what it was when the weights move."""
    held, parametrize._cache_enabled = parametrize._cache_enabled, 0
    try:
        yield
    finally:
        parametrize._cache_enabled = held


def compiled(graph: GraphModule, inputs: tuple[Tensor, ...]) -> Callable[..., list[Tensor]]:
    """The graph through the compiler behind `torch.compile`.

    `torch.compile` reads Python, and a call of what it makes checks first that the Python would
    still be read alike: 25 to 40 µs of a step that takes 100. A graph of tensor operations for
    inputs of known shapes has nothing to check. The weights are buffers of the graph, which the
    compiler reads where they lie. Products of matrices are taken as in `products.py`.
    """
    from torch._inductor import compile as through_inductor

    products.put_into(graph)
    # the order in memory is compiled in
    run = through_inductor(graph, [v.contiguous() for v in inputs])
    return lambda *values: run(*(v.contiguous() for v in values))  # type: ignore[operator]


def captured(
    graph: Callable[..., list[Tensor]], inputs: tuple[Tensor, ...]
) -> Callable[..., list[Tensor]]:
    """The graph with static inputs: a replay copies the inputs in, launches once,
    and copies the outputs out.
    """
    static = [v.clone() for v in inputs]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    # warm up outside the capture: libraries allocate their workspaces
    with torch.cuda.stream(side):
        for _ in range(3):
            graph(*static)
    torch.cuda.current_stream().wait_stream(side)
    replay = torch.cuda.CUDAGraph()
    with torch.cuda.graph(replay):
        outputs = graph(*static)

    def run(*values: Tensor) -> list[Tensor]:
        torch._foreach_copy_(static, list(values))  # pyright: ignore[reportPrivateImportUsage]
        replay.replay()
        return [v.clone() for v in outputs]

    return run


def with_numbers(sampler: Sampler, numbers: Iterator[Tensor]) -> Sampler:
    """The sampler with tensors for its step size and scales, which are taken from `numbers_of` it,
    unchecked: a check would read numbers back.
    """
    other, inner = copy.copy(sampler), wrapped_by(sampler)
    changed: dict[str, Any] = {}
    if isinstance(sampler, Preconditioned):
        changed["scale"] = next(numbers)
    if inner is None:
        changed["step_size"] = next(numbers)
    else:
        changed[inner[0]] = with_numbers(inner[1], numbers)
    for field, value in changed.items():
        object.__setattr__(other, field, value)  # it is frozen, and ours alone
    return other


def numbers_of(sampler: Sampler, x: Tensor) -> list[Tensor]:
    """The scales of `Preconditioned`, the outermost first, and the step size."""
    if isinstance(sampler, Preconditioned):
        return [sampler.scale.to(x), *numbers_of(sampler.sampler, x)]
    return [number(sampler.step_size, x)]


def tensors_of(tree: Any) -> list[Tensor]:
    return [v for v in pytree.tree_leaves(tree) if isinstance(v, Tensor)]


def number(value: float | Tensor, x: Tensor) -> Tensor:
    """A number as a 0-d tensor on the device of the chains, in float64 where there is one."""
    return torch.as_tensor(value, dtype=widest_float(x.device), device=x.device)
