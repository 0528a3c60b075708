"""Breakages of training: bank, losses, steps."""

from __future__ import annotations

from tests.mutations.mutation import Mutation, breakages

MUTATIONS: tuple[Mutation, ...] = (
    *breakages(
        "training/tracking.py",
        "training/test_tracking.py",
        ("steps are told twice", "purge_step=step + 1 if step else None", "purge_step=None"),
        ("one that fails is told again", "del self.trackers[name]", "pass"),
        ("samples are z", "state.standardisation.undo(x)", "x"),
    ),
    *breakages(
        "training/augment.py",
        "training/test_augment.py",
        ("mirrors all", "uniform(1, 1, 1) < 0.5, y.flip", "uniform(1, 1, 1) < 1.5, y.flip"),
        ("shifts one way", "device=x.device) - self.shift", "device=x.device)"),
        (
            "shifts rows twice",
            "offsets[:, 0]), (-1, offsets[:, 1])",
            "offsets[:, 0]), (-1, offsets[:, 0])",
        ),
        ("the border comes round", ".clamp(0, size - 1)", ".remainder(size)"),
        ("windows leave the image", "(1 - side[:, None]) * position", "position"),
        (
            "corners aligned",
            "list(x.shape), align_corners=False",
            "list(x.shape), align_corners=True",
        ),
        ("contrast about zero", "y = mean + (1 + contrast) * (y - mean)", "y = (1 + contrast) * y"),
        (
            "saturation about the mean",
            "y = grey + (1 + saturation) * (y - grey)",
            "y = (1 + saturation) * y",
        ),
        ("chance ignored", "torch.where(chosen, y, x)", "y"),
    ),
    *breakages(
        "training/kl_term.py",
        "training/test_kl_term.py",
        ("temperature forgotten", "grad_before / last.temperature", "grad_before"),
        (
            "noise of the step not held fixed",
            "law.mean.detach()) / std.detach()",
            "law.mean) / std",
        ),
        (
            "scale held fixed",
            "x_theta = law.mean + std * noise",
            "x_theta = law.mean + std.detach() * noise",
        ),
        ("pushed to high energy", "pull = (grad", "pull = -(grad"),
        ("energy moves too", "return energy.detach().mean()", "return energy.mean()"),
    ),
    *breakages(
        "training/objectives/contrastive.py",
        "training/test_kl_term.py",
        ("KL without its weight", "objective.kl_weight * kl_term(", "kl_term("),
    ),
    *breakages(
        "training/objectives/contrastive.py",
        "training/test_augment.py",
        (
            "fresh noise augmented",
            "return slots, restart(x0, coins < objective.restart, state.noise, generator)",
            "return slots, restart(x0, coins < objective.restart, state.noise, generator).flip(-1)",
        ),
    ),
    *breakages(
        "training/loop.py",
        "training/test_own_parts.py",
        (
            "left early and not saved",
            "                opened.save()\n                raise\n",
            "                raise\n",
        ),
    ),
    *breakages(
        "training/opening.py",
        "training/test_own_parts.py",
        ("own network not looked at", "probe(config, parts.energy, points)", "pass"),
        ("averages of a loop of one's own", "self.config.ema, state.step)", "0.0, state.step)"),
    ),
    *breakages(
        "training/state.py",
        "training/test_own_parts.py",
        (
            "noise of the rows read last",
            "self.noise = StartNoise(mean, std",
            "_ = StartNoise(mean, std",
        ),
    ),
    *breakages(
        "training/bank.py",
        "training/test_bank.py",
        ("a slot twice", "return values[~again]", "return values"),
        ("slots in their order", "return values[~again]", "return values[~again].sort().values"),
        ("the last slot never", "torch.randint(m, size", "torch.randint(m - 1, size"),
    ),
    *breakages(
        "training/frozen.py",
        "training/test_frozen.py",
        ("frozen weights trained", "if p.requires_grad]", "]"),
        ("the first potential for good", "self.asked != asked", "self.asked is None"),
        ("weights stay where they are", "weight.data_ptr() for weight in self.weights", ""),
        ("modes not seen", "and not observed(x)", ""),
        ("looked up for a compiler", "if self.eager:", "if True:"),
    ),
    *breakages(
        "networks/given.py",
        "training/test_own_parts.py",
        (
            "rows may depend on each other",
            "abs(float(together) - float(alone)) <= far,",
            "True,",
        ),
        ("rows may depend a little", "far = ROUNDINGS * rounding(energy, x)", "far = 1e-2"),
        ("other code is the same network", "float(apart[at]) <= ROUNDINGS", "0 <= ROUNDINGS"),
        ("rounding is none", "return far + unit * float(u.abs().max())", "return 0.0"),
        ("rounding is a hundredth", "unit = torch.finfo(torch.float32).eps", "unit = 1e-2"),
        ("fingerprint without shapes", "str(t.dtype), list(t.shape))", "str(t.dtype))"),
        ("random numbers allowed", "        not drew,\n", "        True,\n"),
        ("the user's module is changed", "return copy.deepcopy(own)", "return own"),
    ),
    *breakages(
        "data/given.py",
        "training/test_own_parts.py",
        ("the first rows are lost", "self.waiting.append(rows)", "pass"),
        ("the row of NaN is that after the split", "int(order[first + at])", "first + at"),
        (
            "other values are the same data",
            "digest.update(part.view(-1)",
            "bytes(part.view(-1)",
        ),
    ),
    *breakages(
        "data/given.py",
        "training/test_own_data_units.py",
        ("not standardised unasked", "if standardise is None or standardise:", "if standardise:"),
        ("always standardised", "if standardise is None or standardise:", "if True:"),
        ("vectors in float32", "narrow = rows.dim() > 2 or (", "narrow = True or ("),
        ("every kind is vectors", "raw = rows.dim() == 2", "raw = True"),
        ("a fingerprint in float32", "number = torch.float64 if wide else", "number ="),
        (
            "asked for where it is not done",
            "        data.raw or not standardise,\n",
            "        True,\n",
        ),
    ),
    *breakages(
        "training/former.py",
        "training/test_own_data_units.py",
        ("own data of before were standardised", '("array", *OWN)', '("array",)'),
    ),
    *breakages(
        "training/own.py",
        "training/test_own_data_units.py",
        ("by name it is not asked", "None if spec.standardise else False", "None"),
    ),
    *breakages(
        "training/objectives/given.py",
        "training/test_own_objective.py",
        (
            "the temperature is left out",
            "Potential(state.model, config.temperature)",
            "Potential(state.model, 1.0)",
        ),
        (
            "numbers of a loss are lost",
            '{**numbers, "loss": loss.detach()}',
            '{"loss": loss.detach()}',
        ),
        ("random numbers of elsewhere", "            not drew,\n", "            True,\n"),
        ("a stream of its own", "x_pos, state.chain_generator)", "x_pos, torch.default_generator)"),
        (
            "the library's fields are forgotten",
            "return GivenObjective(name_of(own), arguments, like)",
            "return GivenObjective(name_of(own), arguments)",
        ),
        (
            "its arguments are forgotten",
            "GivenObjective(name_of(own), arguments, like)",
            "GivenObjective(name_of(own), {}, like)",
        ),
        ("another one is the same", "        not changed,\n", "        True,\n"),
        ("the name of a record's number is taken", "        not taken,\n", "        True,\n"),
        (
            "pairs are one number",
            "value if isinstance(value, tuple) and len(value) == 2 else (value, 1.0)",
            "(value[0] if isinstance(value, tuple) else value, 1.0)",
        ),
        (
            "gradients do not get there",
            "any(g is not None for g in torch",
            "True or any(g is not None for g in torch",
        ),
    ),
    *breakages(
        "training/objectives/contrastive.py",
        "training/test_own_objective.py",
        (
            "own loss of energies unused",
            "loss = objective.contrast(energy_pos, energy_neg)\n    else:",
            "loss = contrastive_loss(energy_pos, energy_neg, objective.energy_l2)\n    else:",
        ),
    ),
    *breakages(
        "training/own.py",
        "training/test_own_objective.py",
        (
            "the loss is not looked at",
            "config.objective.probe(state.energy, x,",
            "(lambda *_: None)(state.energy, x,",
        ),
        (
            "what extends the library is the library",
            "type(part) not in (*get_args(library), *get_args(own))",
            "not isinstance(part, library | own)",
        ),
    ),
    *breakages(
        "own_code.py",
        "training/test_own_objective.py",
        (
            "arguments with addresses",
            "return repr(value) if told else type(value).__qualname__",
            "return repr(value)",
        ),
    ),
    *breakages(
        "models/packing.py",
        "training/test_own_parts.py",
        ("weights used twice", "save(checkpoint.apart(tensors)", "save(tensors"),
        (
            "packed without what it computes",
            'if probe := saved.part("probe"):',
            "if probe := None:",
        ),
    ),
    *breakages(
        "training/objectives/contrastive.py",
        "training/test_recipe_pieces.py",
        (
            "grows over the whole run",
            "step / (self.growth.share * steps)",
            "step / steps",
        ),
        ("grows from nothing", "return self.chain_steps + round(", "return round("),
    ),
)
