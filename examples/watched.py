"""The steps of a training run in a `for` of your own: plots in TensorBoard and early stopping,
without callbacks.

    python examples/watched.py [FOLDER]        and then        tensorboard --logdir FOLDER

needs `pip install 'stanley[tensorboard]'`. `--track tensorboard` keeps every record without a line
of code; a loop of your own adds what only you know, here the exact KL as training goes on.
"""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import replace

from torch.utils.tensorboard import SummaryWriter

import stanley
from stanley.judging.evaluate import exact_kl


def main(out: str = "runs/watched", steps: int = 200, patience: int = 3) -> float:
    config = replace(stanley.recipe("rings"), steps=steps, save_every=50)
    run, best, worse = f"{out}/run", float("inf"), 0
    with SummaryWriter(f"{out}/board") as board, closing(stanley.steps(config, run)) as records:
        for record in records:
            step = record["step"]
            board.add_scalars("energy", {k: record[f"energy_{k}"] for k in ("pos", "neg")}, step)
            if step % config.save_every == 0:  # a checkpoint of this step is on the disk already
                kl = exact_kl(run)
                assert kl is not None  # rings lie in the plane, and their density is known
                board.add_scalar("KL", kl, step)
                print(f"step {step}: KL(data‖model) {kl:.3f} nats, exact")
                best, worse = (kl, 0) if kl < best else (best, worse + 1)
                if worse == patience:
                    break  # saved here; the same call goes on
    return best


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/watched")
