"""What a score means, in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stanley.judging.evaluate import RelativeFrechet

#: Of the relative Fréchet distance of fresh chains: close to the data, and nowhere near.
CLOSE, FAR = 0.05, 0.5


def fresh_in_words(fresh: RelativeFrechet) -> str:
    """At 1 the samples say no more of the data than their mean would."""
    where = f"{fresh.num} fresh chains"
    features = "their coordinates" if fresh.features == "pixels" else fresh.features
    if fresh.value is None:
        return f"{where}: some diverged; try more --steps, or a smaller sampler.step_size"
    distance = (
        f"{where} are {fresh.value:.2f} from the data (Fréchet distance in {features} /"
        f" spread of the data; as many points of the data {fresh.of_data:.2f}, their mean 1)"
    )
    if fresh.value <= 2 * fresh.of_data + CLOSE:
        return f"{distance}: close in mean and covariance"
    if fresh.value <= FAR:
        return f"{distance}: some of the data's variety is there, not all"
    return f"{distance}: poor, chains end elsewhere; try more --steps, or another --seed"


def reading_in_words(reading: dict[str, Any]) -> str:
    """The same in a few words, of an exact KL or of fresh chains, for a list of runs."""
    if (kl := reading.get("kl")) is not None:
        return f"KL {kl:.3g} nats"
    value = reading["fresh"]["value"]
    if value is None:
        return "some fresh chains diverged"
    return f"fresh chains {max(0.0, value):.2g} from the data"


def kl_in_words(kl: float) -> str:
    """What an exact KL in the plane means; the recipes end at about 0.005."""
    if kl <= 0.02:
        return "close to the data"
    if kl <= 0.1:
        return "the shape is there, its details or the shares of its parts are off"
    return "poor: parts of the data are missing or misplaced; try more --steps, or another --seed"
