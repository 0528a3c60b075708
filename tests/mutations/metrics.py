"""Breakages of the metrics."""

from __future__ import annotations

from tests.mutations.mutation import Mutation, breakages

MUTATIONS: tuple[Mutation, ...] = (
    # Metrics in features.
    *breakages(
        "metrics/cubic_kernel.py",
        "metrics/test_cubic_kernel.py",
        ("the diagonal is kept", "if same else sums", "if False else sums"),
        ("square kernel", "+ 1) ** 3\n\n", "+ 1) ** 2\n\n"),
        ("jackknife loses a row once", "own.sum() - 2 * own", "own.sum() - own"),
        ("jackknife of an average", "float((n - 1) / n * (without", "float(1 / n * (without"),
    ),
    *breakages(
        "metrics/neighbours.py",
        "metrics/test_neighbours.py",
        ("a row is its own neighbour", "= torch.inf  #", "= distance[here, start + here]  #"),
        ("recall by the data's balls", "distance <= radius_of_samples", "distance <= r[:, None]"),
        ("density over all rows", "(k * len(samples))", "(k * len(real))"),
        ("coverage by the farthest", "distance.amin(1)", "distance.amax(1)"),
    ),
    *breakages(
        "metrics/classes.py",
        "metrics/test_classes.py",
        ("the marginal over classes", "p.mean(0)", "p.mean(0).square()"),
        ("the logarithm", "return kl.exp()", "return kl"),
    ),
    *breakages(
        "judging/evaluate.py",
        "judging/test_evaluate.py",
        (
            "not in units of the spread",
            "reference.statistics).value / spread",
            "reference.statistics).value",
        ),
        ("spread of one coordinate", "covariance.trace())", "covariance[0, 0])"),
        (
            "chains that diverged are left out",
            "if finite_chains(x).all() else None",
            "if True else None",
        ),
    ),
    *breakages(
        "metrics/extrapolation.py",
        "metrics/test_extrapolation.py",
        ("against n", "np.polyfit(1 / np.array(sizes)", "np.polyfit(np.array(sizes)"),
    ),
    *breakages(
        "metrics/detection.py",
        "metrics/test_detection.py",
        ("ties lose", "(below + up_to).double()", "(2 * below).double()"),
        ("90 percent", "-(-95 * len(inside) // 100)", "-(-90 * len(inside) // 100)"),
        ("above the threshold", "(outside <= threshold)", "(outside < threshold)"),
        ("in as out", "average_precision(-inside, -outside)", "average_precision(inside, outside)"),
        (
            "pixels permuted alike",
            "torch.rand(n, 1, h * w, **place)",
            "torch.rand(1, 1, h * w, **place)",
        ),
    ),
    *breakages(
        "metrics/likelihood.py",
        "metrics/test_likelihood.py",
        (
            "the last weight is left out",
            "for k in range(1, K + 1):\n            log_w =",
            "for k in range(1, K):\n            log_w =",
        ),
        ("reverse as forward", "log_w = log_w - (self", "log_w = log_w + (self"),
        (
            "reverse moves at the wrong level",
            "self.move(samplers[k - 1], k - 1, x)",
            "self.move(samplers[k - 1], 1, x)",
        ),
        ("reference without its constant", "+ LOG_2PI\n", "\n"),
        ("127.5", "/ bits + 7, upper", "/ bits + math.log2(127.5), upper"),
        (
            "potential at half strength",
            "+ self.beta * self.energy(x)",
            "+ self.beta**2 * self.energy(x)",
        ),
    ),
    *breakages(
        "metrics/similarity.py",
        "metrics/test_similarity.py",
        ("range not squared", "10 * (data_range**2 /", "10 * (data_range /"),
        ("window of another width", "(2 * SIGMA**2)", "(2 * SIGMA)"),
        ("second moments not central", "average(x * y) - mx * my", "average(x * y)"),
        (
            "C₁ for C₂",
            "c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2",
            "c1, c2 = (K1 * data_range) ** 2, (K1 * data_range) ** 2",
        ),
        ("a where that is ignored", "square = square[..., where]", "pass"),
    ),
)
