"""Breakages of runs side by side."""

from __future__ import annotations

from tests.mutations.mutation import Mutation, breakages

TEST = "training/test_stack.py"

MUTATIONS: tuple[Mutation, ...] = (
    *breakages(
        "training/stack_step.py",
        TEST,
        (
            "all draw from the first generator",
            "Generators([state.chain_generator for state in states])",
            "Generators([states[0].chain_generator] * len(states))",
        ),
        (
            "lost chains stay in the bank",
            "keep(state, slots, ends, gone)",
            "keep(state, slots, ends, gone & ~gone)",
        ),
        ("no clipping", "/ (norm + 1e-6)).clamp(max=1)", "/ (norm + 1e-6)).clamp(min=1, max=1)"),
        (
            "clipped together",
            "linalg.vector_norm(gradient, dim=1)",
            "linalg.vector_norm(gradient).expand(len(gradient))",
        ),
        (
            "average of the first",
            "for config in self.configs]\n        self.average",
            "for config in [self.configs[0]] * len(self.configs)]\n        self.average",
        ),
        ("slowdown forgotten", "state.step_size * state.slowdown", "state.step_size"),
        ("loss of the mean", "autograd.grad(loss.sum()", "autograd.grad(loss.mean()"),
        (
            "thresholds of the wrong chains",
            "threshold.flatten()[::chains]",
            "threshold.flatten()[: num]",
        ),
        ("weights are copies", "                    parameter.data = own\n", ""),
    ),
    *breakages(
        "training/optim.py",
        TEST,
        ("moments begin anew", "moment.copy_(state[name])", "moment.zero_()"),
        ("updates counted anew", 'float(state.get("step", 0.0))', "0.0"),
        ("rates without the bias of the mean", "-lr / (1 - kind.beta1**n)", "-lr"),
        (
            "momentum of the first",
            '[getattr(kind, "momentum", 0.0) for kind in self.kinds]',
            "[0.5 for kind in self.kinds]",
        ),
        (
            "moments stay in the stack",
            "optimizer.state[parameter].update(zip(names, moments, strict=True))",
            "pass",
        ),
    ),
    *breakages(
        "training/stack.py",
        TEST,
        ("all wait for nobody", "if run.step == level]", "]"),
        (
            "weights from before a rollback",
            "            stack = None  # weights",
            "            pass  # weights",
        ),
        (
            "a diverged run goes on",
            "                self.over = True\n",
            "                self.over = False\n",
        ),
        (
            "a diverged run is saved",
            "            opened.saved = state.step  # there",
            "            opened.saved = -1  # there",
        ),
        (
            "nothing saved after Ctrl-C",
            "                run.opened.save()\n",
            "                pass\n",
        ),
        ("one directory twice", 'require(twice == "",', "require(True,"),
    ),
    *breakages(
        "samplers/side_by_side.py",
        TEST,
        (
            "chains lie interleaved",
            "column.repeat_interleave(chains).view",
            "column.repeat(chains).view",
        ),
        (
            "thresholds of the first",
            "rows(thresholds, ones)",
            "rows([thresholds[0]] * len(inner), ones)",
        ),
        ("shares of jumps of the first", "[s.jump_share for s in", "[first.jump_share for s in"),
        ("jumps by the spread of all", "float(spread_of(chains))", "float(spread_of(x))"),
        ("lagged is taken", "if not traits_of(sampler).independent_chains:", "if False:"),
    ),
    *breakages(
        "samplers/scale.py",
        TEST,
        (
            "one quantile for all runs",
            "size.reshape(threshold.runs, -1)",
            "size.reshape(1, -1).expand(threshold.runs, -1)",
        ),
        (
            "thresholds interleaved",
            "found.repeat_interleave(len(size) // len(found))",
            "found.repeat(len(size) // len(found))",
        ),
    ),
    *breakages(
        "samplers/noise.py",
        TEST,
        (
            "runs share the first one's noise",
            "own.draw(generator) for generator in self.generators",
            "own.draw(self.generators[0]) for _ in self.generators",
        ),
    ),
    *breakages(
        "networks/side_by_side.py",
        TEST,
        ("a row too short", "-(-shape.numel() // ALIGNED) * ALIGNED", "shape.numel() - 1"),
        ("bias forgotten", "keepdim=True) + row, lambda", "keepdim=True), lambda"),
        ("cos backwards", "of_cos * scale * -sin", "of_cos * scale * sin"),
        (
            "buffers that are others",
            "[dict(e.named_buffers())[name] for e in energies]",
            "[dict(e.named_buffers())[name] + 1 for e in energies]",
        ),
        (
            "one product for all sizes",
            "return single if weight.shape[1] == 1 else function",
            "return function",
        ),
        (
            "frozen weights are trained",
            "if any(not p.requires_grad for p in energy.parameters()):",
            "if False:",
        ),
    ),
)
