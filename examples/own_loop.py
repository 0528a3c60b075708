"""A training loop of your own, put together from the library's parts, whose result is a run like
any other: saved, resumed by the same call, judged by `stanley evaluate`, drawn by `stanley plot`.

    python examples/own_loop.py [FOLDER]
"""

from __future__ import annotations

import sys
from dataclasses import replace

import stanley
from stanley.data import next_batch
from stanley.training.frozen import frozen
from stanley.training.losses import contrastive_loss


def main(out: str = "runs/own-loop", steps: int = 200) -> float:
    config = replace(
        stanley.recipe("rings"),
        steps=steps,
        save_every=100,
        objective=stanley.Contrastive(chain_steps=10, bank_size=500),
    )
    with stanley.open_run(config, out) as opened:  # makes the run, or goes on with it
        state = opened.state
        while state.step < config.steps:
            x = next_batch(opened.data, config.batch, state.data_generator)
            slots, z = state.bank.draw(config.batch, state.chain_generator)
            with frozen(state.energy):  # chains see E as a function of x alone
                potential = config.potential(state.energy)
                chains = stanley.run_chains(
                    config.sampler, potential, z, 10, generator=state.chain_generator
                )
            state.bank.write(slots, chains.x)
            loss = contrastive_loss(state.energy(x), state.energy(chains.x), energy_l2=0.0)
            state.optimizer.zero_grad()
            loss.backward()
            state.optimizer.step()
            opened.finish_step(loss=loss, acceptance=chains.info.acceptance.mean())
    scores = stanley.evaluate(opened.run, num=500, steps=100)
    print(f"step {scores['step']}: KL(data‖model) {scores['kl']:.3f} nats, exact")
    return scores["kl"]


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/own-loop")
