"""Losses on covariances: closed forms, slow twins, units, order, gradients, bad conditioning, and mixes."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from pydantic import ValidationError

from eigenfolio.constraints import UNCONSTRAINED, Constraints
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.models import minimum_variance_weights
from eigenfolio.training import covariance_losses as losses
from eigenfolio.training.loss_terms import LossInputs, LossOptions, combined_loss

SCALARS = {"intensity": 0.3, "log_variance": -0.5, "oracle_intensity": 0.7}


def matrices(n_assets=6, *, seed=0, n=3):
    X = np.random.default_rng(seed).standard_normal((n, 3 * n_assets, n_assets)) * np.linspace(0.5, 2.0, n_assets)
    return torch.tensor(np.einsum("nta,ntb->nab", X, X) / (3 * n_assets))


def inputs(n_assets=6, n=3, **change):
    given = {
        "estimate": matrices(n_assets, seed=1, n=n),
        "future": torch.tensor(np.random.default_rng(4).standard_normal((n, 4, n_assets))),
        "truth": matrices(n_assets, seed=2, n=n),
        "previous": matrices(n_assets, seed=3, n=n),
        "asset_weights": torch.linspace(0.5, 1.5, n_assets).double().expand(n, -1),
    }
    given |= {name: torch.full((n,), value, dtype=torch.float64) for name, value in SCALARS.items()}
    return given | change


def one(name, given, **options):
    mix = LossOptions(terms=[{"name": name, **options}])
    return combined_loss(mix)(given["estimate"], **{k: v for k, v in given.items() if k != "estimate"}).total


CASES = [
    ("minimum_variance", {}),
    ("long_only", {"cap": 0.3}),
    ("gaussian_likelihood", {}),
    ("gaussian_likelihood", {"form_clamp": 1.05}),
    ("frobenius", {}),
    ("frobenius_weighted", {}),
    ("frobenius_weighted", {"asset_weights": "given"}),
    ("frobenius_normalised", {}),
    ("frobenius_normalised", {"by": "trace"}),
    ("spectral", {}),
    ("spectral", {"relative": True}),
    ("kl", {}),
    ("reverse_kl", {}),
    ("symmetric_kl", {}),
    ("stein", {}),
    ("log_det", {}),
    ("eigenvalue_spectrum", {}),
    ("eigenvalue_spectrum", {"scale": "linear"}),
    ("intensity", {}),
    ("intensity_likelihood", {}),
    ("stability", {}),
    ("stability", {"distance": "symmetric_kl"}),
    ("turnover", {}),
    ("turnover", {"cap": 0.4}),
]
PROXY = ["minimum_variance", "long_only", "gaussian_likelihood", "frobenius"]


def takes_a_horizon(name, options):
    return name in PROXY or options.get("asset_weights") == "given"


DISTANCES = [
    "frobenius",
    "frobenius_weighted",
    "frobenius_normalised",
    "spectral",
    "kl",
    "reverse_kl",
    "symmetric_kl",
    "stein",
    "log_det",
    "eigenvalue_spectrum",
]


def plain_form(E, S):
    return np.trace(np.linalg.inv(E) @ S)


def plain_kl(E, S):
    return (plain_form(E, S) - len(E) + np.linalg.slogdet(E)[1] - np.linalg.slogdet(S)[1]) / 2 / len(E)


def plain(
    name, options, *, estimate, future, truth, previous, asset_weights, intensity, log_variance, oracle_intensity
):
    """The slow twin: one matrix, plain numpy, dense inverses."""
    n = len(estimate)
    R = truth if truth is not None else sum(np.outer(y, y) for y in future) / len(future)
    D = estimate - R
    if name in ("minimum_variance", "long_only"):
        book = UNCONSTRAINED if name == "minimum_variance" else Constraints(max_weight=max(options["cap"], 2 / n))
        w = minimum_variance_weights(estimate, book)
        leverage = 0.1 * math.log(abs(w).sum()) if name == "minimum_variance" else 0.0
        return math.log(w @ R @ w) + leverage
    if name == "gaussian_likelihood":
        form, clamp = plain_form(estimate, R) / n, options.get("form_clamp", 12.0)
        return np.linalg.slogdet(estimate)[1] / n + (form if form <= clamp else clamp * (1 + math.log(form / clamp)))
    if name in ("frobenius", "frobenius_weighted"):
        a = np.ones(n)
        if name == "frobenius_weighted":
            a = asset_weights if options else 1 / np.sqrt(np.diag(R))
        return sum((a[i] * D[i, j] * a[j]) ** 2 for i in range(n) for j in range(n))
    if name == "frobenius_normalised":
        return (D**2).sum() / (np.trace(R) ** 2 if options else (R**2).sum())
    if name == "spectral":
        return np.linalg.norm(D, 2) / (np.linalg.norm(R, 2) if options else 1.0)
    if name == "kl":
        return plain_kl(estimate, R)
    if name == "reverse_kl":
        return plain_kl(R, estimate)
    if name == "symmetric_kl":
        return (plain_kl(R, estimate) + plain_kl(estimate, R)) / 2
    if name == "stein":
        A = estimate @ np.linalg.inv(R)
        return (np.trace(A) - math.log(np.linalg.det(A)) - n) / n
    if name == "log_det":
        return ((np.linalg.slogdet(estimate)[1] - np.linalg.slogdet(R)[1]) / n) ** 2
    if name == "eigenvalue_spectrum":
        e, s = np.sort(np.linalg.eigvals(estimate).real), np.sort(np.linalg.eigvals(R).real)
        return np.mean((e - s) ** 2) if options else np.mean(np.log(e / s) ** 2)
    if name == "intensity":
        return (intensity - oracle_intensity) ** 2
    if name == "intensity_likelihood":
        error = math.log(intensity / (1 - intensity)) - math.log(oracle_intensity / (1 - oracle_intensity))
        variance = math.exp(log_variance)
        return -math.log(math.exp(-(error**2) / 2 / variance) / math.sqrt(2 * math.pi * variance))
    if name == "stability" and options:
        return (plain_kl(previous, estimate) + plain_kl(estimate, previous)) / 2
    if name == "stability":
        return ((estimate - previous) ** 2).sum() / np.linalg.norm(estimate) / np.linalg.norm(previous)
    book = Constraints(max_weight=0.4) if options else UNCONSTRAINED
    trades = minimum_variance_weights(estimate, book) - minimum_variance_weights(previous, book)
    return sum(math.sqrt(trade**2 + 1e-8) - 1e-4 for trade in trades) / 2


@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_loss_equals_its_slow_twin(name, options):
    given = inputs()
    found = one(name, given, **options)
    assert found.shape == (3,)
    for i, value in enumerate(found.tolist()):
        row = {key: tensor[i].numpy() for key, tensor in given.items()}
        assert value == pytest.approx(plain(name, options, **row), rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("name", PROXY)
def test_where_it_is_sound_the_realised_covariance_of_the_horizon_is_the_truth(name):
    given = inputs(truth=None)
    options = {"cap": 0.3} if name == "long_only" else {}
    realised = losses.realised_covariance(given["future"])
    found = one(name, given, **options)
    torch.testing.assert_close(found, one(name, given | {"truth": realised}, **options), rtol=1e-7, atol=1e-10)
    row = {key: None if tensor is None else tensor[0].numpy() for key, tensor in given.items()}
    assert found[0].item() == pytest.approx(plain(name, options, **row), rel=1e-6)


@pytest.mark.parametrize("name", DISTANCES)
def test_distances_are_zero_at_the_truth_and_positive_elsewhere(name):
    given = inputs()
    assert (one(name, given) > 1e-4).all()
    found = one(name, given | {"estimate": given["truth"].clone()})
    assert_allclose(found, 0.0, atol=1e-13)


@pytest.mark.parametrize("name", ["minimum_variance", "gaussian_likelihood", "long_only"])
def test_no_estimate_beats_the_truth(name):
    given = inputs()
    options = {"minimum_variance": {"leverage": 0.0}, "long_only": {"cap": 0.3}}.get(name, {})
    best = one(name, given | {"estimate": given["truth"]}, **options)
    for seed in range(20):
        noise = 0.2 * matrices(seed=10 + seed)
        assert (one(name, given | {"estimate": given["truth"] + noise}, **options) >= best - 1e-12).all()


def test_divergences_of_a_multiple_are_those_worked_by_hand():
    eye = torch.eye(5, dtype=torch.float64)
    for c in (0.25, 3.0):
        forth, back = (1 / c - 1 + math.log(c)) / 2, (c - 1 - math.log(c)) / 2
        expected = {
            "kl": forth,
            "reverse_kl": back,
            "symmetric_kl": (forth + back) / 2,
            "stein": c - 1 - math.log(c),
            "log_det": math.log(c) ** 2,
            "eigenvalue_spectrum": math.log(c) ** 2,
            "frobenius": 5 * (c - 1) ** 2,
            "frobenius_normalised": (c - 1) ** 2,
            "spectral": abs(c - 1),
        }
        for name, value in expected.items():
            assert one(name, {"estimate": c * eye, "truth": eye}).item() == pytest.approx(value, rel=1e-12), name


def test_identities_between_the_divergences_hold():
    E, S = matrices(seed=1), matrices(seed=2)
    torch.testing.assert_close(losses.stein(E, S), 2.0 * losses.kl_divergence(S, E))
    both = losses.kl_divergence(E, S) + losses.reverse_kl_divergence(E, S)
    torch.testing.assert_close(losses.symmetric_kl_divergence(E, S), both / 2.0)
    entropy = (torch.logdet(S) / 6 + 1.0) / 2.0  # what the estimate cannot change
    torch.testing.assert_close(losses.gaussian_likelihood(E, truth=S) / 2.0 - entropy, losses.kl_divergence(E, S))


def test_kl_is_that_of_torch_distributions():
    E, S = matrices(seed=1), matrices(seed=2)
    mean = torch.zeros(6, dtype=torch.float64)
    ours, true = (torch.distributions.MultivariateNormal(mean, covariance_matrix=matrix) for matrix in (E, S))
    expected = torch.distributions.kl_divergence(true, ours)
    torch.testing.assert_close(losses.kl_divergence(E, S), expected / 6)


def test_divergences_do_not_change_when_every_asset_gets_its_own_unit():
    E, S = matrices(seed=1), matrices(seed=2)
    d = torch.logspace(-3, 3, 6).double()
    for loss in (losses.kl_divergence, losses.stein, losses.symmetric_kl_divergence, losses.log_det):
        torch.testing.assert_close(loss(d[:, None] * E * d, d[:, None] * S * d), loss(E, S), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        losses.frobenius_weighted(d[:, None] * E * d, d[:, None] * S * d), losses.frobenius_weighted(E, S)
    )


ADDS = {"minimum_variance", "long_only", "gaussian_likelihood"}


@pytest.mark.parametrize(("name", "options"), CASES)
def test_another_unit_does_what_the_table_says(name, options):
    c, given = 1e-2, inputs()
    scaled = given | {key: given[key] * c**2 for key in ("estimate", "truth", "previous")}
    scaled["future"] = c * given["future"]
    power = {
        ("frobenius", ()): 4,
        ("frobenius_weighted", ("asset_weights",)): 4,
        ("spectral", ()): 2,
        ("eigenvalue_spectrum", ("scale",)): 4,
    }.get((name, tuple(options)), 0)
    expected = one(name, given, **options) * c**power + (2 * math.log(c) if name in ADDS else 0.0)
    torch.testing.assert_close(one(name, scaled, **options), expected, rtol=1e-8, atol=1e-14)
    if name in ADDS:
        future_only = one(name, scaled | {"truth": None}, **options) - one(name, given | {"truth": None}, **options)
        assert_allclose(future_only, 2 * math.log(c), rtol=1e-9)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_order_of_assets_does_not_matter(name, options):
    given = inputs()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    shuffled = given | {key: given[key][:, order][:, :, order] for key in ("estimate", "truth", "previous")}
    shuffled |= {"future": given["future"][:, :, order], "asset_weights": given["asset_weights"][:, order]}
    torch.testing.assert_close(one(name, shuffled, **options), one(name, given, **options), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "options", "truth"),
    [(*case, True) for case in CASES] + [(*case, False) for case in CASES if takes_a_horizon(*case)],
)
def test_gradients_equal_finite_differences(name, options, truth):
    given = inputs(n_assets=4, n=2)
    if not truth:
        given["truth"] = None
    free = "intensity" if name.startswith("intensity") else "estimate"
    start = given[free].clone().requires_grad_()

    def value(x):
        moved = 0.5 * (x + x.mT) if free == "estimate" else x
        return one(name, given | {free: moved}, **options)

    assert torch.autograd.gradcheck(value, (start,), atol=1e-6)


def test_minimum_variance_weights_can_be_differentiated_twice_and_like_their_formula():
    root = torch.randn(2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def weights(x):
        return losses.minimum_variance_portfolio(x @ x.mT + 0.5 * torch.eye(4))

    assert torch.autograd.gradgradcheck(weights, (root,))
    estimate = matrices().requires_grad_()
    raw = torch.linalg.solve(estimate, torch.ones(6).double())
    upstream = torch.linspace(-1, 2, 6).double()
    expected = torch.autograd.grad((raw / raw.sum(-1, keepdim=True) @ upstream).sum(), estimate)[0]
    found = torch.autograd.grad((losses.minimum_variance_portfolio(estimate) @ upstream).sum(), estimate)[0]
    torch.testing.assert_close(found, (expected + expected.mT) / 2)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_at_a_condition_number_of_1e8_values_are_right_and_gradients_finite(name, options):
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((20, 20)))[0]
    truth = torch.tensor(basis * np.geomspace(1e-8, 1.0, 20) @ basis.T)
    truth = 1e-4 * (truth + truth.mT) / 2
    estimate = (1.3 * truth).requires_grad_()
    given = inputs(n_assets=20, n=1) | {"estimate": estimate[None], "truth": truth[None], "previous": truth[None]}
    value = one(name, given, **options)
    by_hand = {
        "kl": (1 / 1.3 - 1 + math.log(1.3)) / 2,
        "reverse_kl": (0.3 - math.log(1.3)) / 2,
        "symmetric_kl": (1 / 1.3 + 1.3 - 2) / 4,
        "stein": 0.3 - math.log(1.3),
        "log_det": math.log(1.3) ** 2,
        "frobenius_normalised": 0.09,
        "stability": 0.09 / 1.3,
    }
    if name in by_hand and not options:
        assert value.item() == pytest.approx(by_hand[name], rel=1e-6)
    assert torch.isfinite(value).all()
    if not name.startswith("intensity"):
        value.sum().backward()
        assert torch.isfinite(estimate.grad).all()


@pytest.mark.parametrize("name", ["kl", "reverse_kl", "symmetric_kl", "stein"])
def test_near_the_truth_divergences_keep_their_digits(name):
    truth = matrices()
    found = one(name, {"estimate": truth * (1 + 1e-6), "truth": truth})
    assert_allclose(found, 1e-12 * (0.5 if name == "stein" else 0.25), rtol=1e-3)


def test_gradients_are_finite_where_nothing_moved_or_nothing_changed():
    estimate = matrices().requires_grad_()
    given = inputs(estimate=estimate, future=torch.zeros(3, 4, 6, dtype=torch.float64), truth=None)
    given["previous"] = estimate.detach().clone()
    total = sum(one(name, given).sum() for name in ("minimum_variance", "gaussian_likelihood", "stability", "turnover"))
    total = total + one("spectral", given | {"truth": given["previous"]}).sum()
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(estimate.grad).all()


def test_a_portfolio_that_did_not_move_has_a_logarithm():
    still = losses.realised_log_variance(torch.tensor([0.5, 0.5]).double(), future=torch.tensor([[3.0, -3.0]]).double())
    assert still.item() == pytest.approx(math.log(1e-9 * 9.0))


def test_members_share_the_windows():
    given = inputs()
    members = torch.stack([given["estimate"], 2.0 * given["estimate"], given["truth"]])
    shared = ("intensity", "intensity_likelihood")
    for name, options in CASES:
        if name in shared:
            continue
        for truth in (given["truth"], None):
            if truth is None and name not in PROXY:
                continue
            found = one(name, given | {"estimate": members, "truth": truth}, **options)
            alone = [one(name, given | {"estimate": member, "truth": truth}, **options) for member in members]
            torch.testing.assert_close(found, torch.stack(alone), rtol=1e-9, atol=1e-12)


def test_the_oracle_intensity_is_the_best_on_a_fine_grid():
    C, S = matrices(seed=1, n=20), matrices(seed=2, n=20)
    F = C.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(6).double()
    S[:5] = C[:5] + 0.3 * (F - C)[:5]  # 0.3 exactly
    found = losses.oracle_intensity(C, F, S)
    grid = torch.linspace(0, 1, 2001).double()[:, None, None, None]
    distances = losses.frobenius((1 - grid) * C + grid * F, S)
    assert_allclose(found, grid.flatten()[distances.argmin(0)], atol=2.6e-4)
    assert_allclose(found[:5], 0.3, atol=1e-12)
    assert losses.oracle_intensity(C, C, S).tolist() == [0.0] * 20
    assert losses.oracle_intensity(C, F, 2.0 * F - C).tolist() == [1.0] * 20  # beyond the target
    assert losses.oracle_intensity(C, F, 2.0 * C - F).tolist() == [0.0] * 20  # away from it


def test_an_oracle_at_the_end_of_its_range_has_a_finite_likelihood():
    intensity = torch.tensor([0.4, 1.0 - 1e-9], dtype=torch.float64, requires_grad=True)
    value = losses.intensity_likelihood(intensity, torch.zeros(2).double(), torch.tensor([0.0, 1.0]).double())
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(intensity.grad).all()


def test_the_best_variance_of_the_intensity_is_the_squared_error():
    oracle, predicted = torch.tensor(0.7).double(), torch.tensor(0.4).double()
    best = (torch.logit(predicted) - torch.logit(oracle)).square().log()
    at = [losses.intensity_likelihood(predicted, best + step, oracle).item() for step in (-0.1, 0.0, 0.1)]
    assert at[1] == min(at)


def test_beyond_the_clamp_a_larger_variance_still_lowers_the_likelihood():
    eye, future = torch.eye(3).double(), torch.full((5, 3), 100.0).double()
    scales = torch.logspace(0, 5, 30).double()
    values = losses.gaussian_likelihood(scales[:, None, None] * eye, future=future, form_clamp=12.0)
    rising = values.argmin().item()
    assert (values[:rising].diff() < 0).all()
    assert scales[rising].item() == pytest.approx(1e4, rel=0.3)  # the variance that was realised
    free = losses.gaussian_likelihood(eye, future=future)
    assert free.item() == pytest.approx(1e4)
    assert values[0].item() == pytest.approx(12 * (1 + math.log(1e4 / 12)))


def test_turnover_is_half_of_the_absolute_trades():
    now, before = torch.tensor([0.5, 0.5, 0.0]).double(), torch.tensor([0.2, 0.5, 0.3]).double()
    assert losses.turnover(now, before, smoothing=1e-9).item() == pytest.approx(0.3)
    assert 0.3 - 1.5e-2 <= losses.turnover(now, before, smoothing=1e-2).item() <= 0.3
    assert losses.turnover(now, now).item() == 0.0


def test_the_total_is_the_weighted_sum_of_the_parts():
    mix = LossOptions(
        terms=[
            {"name": "minimum_variance", "weight": 2.0, "leverage": 0.5},
            {"name": "gaussian_likelihood", "weight": 0.3},
            {"name": "stability", "weight": 0.0},
        ]
    )
    given = inputs()
    found = combined_loss(mix, available=set(given))(**given)
    parts = found.parts
    assert set(parts) == {"minimum_variance", "leverage", "gaussian_likelihood", "stability"}
    torch.testing.assert_close(
        found.total,
        2.0 * (parts["minimum_variance"] + 0.5 * parts["leverage"]) + 0.3 * parts["gaussian_likelihood"],
    )
    torch.testing.assert_close(parts["stability"], one("stability", given))


def test_every_name_is_taken_from_a_mapping_and_back():
    for name, options in CASES:
        mix = LossOptions.model_validate({"terms": [{"name": name, "weight": 0.5, **options}]})
        assert LossOptions.model_validate(mix.model_dump()) == mix
        assert mix.terms[0].name == name


@pytest.mark.parametrize(
    ("name", "available", "message"),
    [
        ("stein", {"future"}, "'stein' needs truth, got future; the realised covariance"),
        ("kl", {"future"}, "'kl' needs truth"),
        ("eigenvalue_spectrum", {"future"}, "needs truth"),
        ("spectral", {"future"}, "needs truth"),
        ("frobenius_normalised", {"future"}, "needs truth"),
        ("frobenius_weighted", {"future"}, "needs truth"),
        ("long_only", {"previous"}, "'long_only' needs truth or future, got previous"),
        ("turnover", {"future"}, "'turnover' needs previous"),
        ("intensity_likelihood", {"intensity", "oracle_intensity"}, "needs log_variance"),
        ("frobenius", set(), "got nothing"),
        ("frobenius", {"futures"}, "available must name inputs"),
    ],
)
def test_a_loss_that_lacks_its_input_says_so_before_training(name, available, message):
    mix = LossOptions(terms=[{"name": name}])
    with pytest.raises(ParameterError, match=message):
        combined_loss(mix, available=available)
    if available <= {"future"} and available:
        with pytest.raises(ParameterError, match=message):
            combined_loss(mix)(torch.eye(2), future=torch.ones(3, 2))


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([], "positive weight"),
        ([{"name": "stein", "weight": 0.0}], "positive weight"),
        ([{"name": "stein"}, {"name": "stein"}], "named once"),
        ([{"name": "stein", "cap": 0.1}], "Extra inputs"),
        ([{"name": "steyn"}], "does not match any of the expected tags"),
        ([{"name": "stein", "weight": -1.0}], "greater than or equal to 0"),
        ([{"name": "long_only", "slack": 0.5}], "at least 1"),
    ],
)
def test_a_mix_that_makes_no_sense_is_refused(terms, message):
    with pytest.raises(ValidationError, match=message):
        LossOptions(terms=terms)


def test_matrices_that_are_not_definite_are_named():
    singular = losses.realised_covariance(torch.randn(3, 6, generator=torch.Generator().manual_seed(0)).double())
    eye = torch.eye(6, dtype=torch.float64)
    for loss in (losses.kl_divergence, losses.reverse_kl_divergence, losses.stein, losses.log_det):
        with pytest.raises(DataError, match="use gaussian_likelihood"):
            loss(eye, singular)
    twins = torch.tensor([[1.0, 1.0 - 4e-15], [1.0 - 4e-15, 1.0]], dtype=torch.float64)  # it has a Cholesky factor
    with pytest.raises(DataError, match="nonsingular"):
        losses.stein(torch.eye(2).double(), twins)
    with pytest.raises(DataError, match="estimate must be positive definite, matrix 1 of 2"):
        losses.gaussian_likelihood(torch.stack([eye, -eye]), truth=eye)
    with pytest.raises(DataError, match="not finite"):
        losses.minimum_variance_portfolio(torch.full((2, 2), torch.nan))
    with pytest.raises(DataError, match="scale='linear'"):
        losses.eigenvalue_spectrum(eye, -eye)
    with pytest.raises(ParameterError, match="above 1"):
        losses.gaussian_likelihood(eye, truth=eye, form_clamp=0.5)
    with pytest.raises(ParameterError, match="needs future or truth"):
        losses.gaussian_likelihood(eye)


def test_a_small_universe_keeps_a_choice_under_the_cap():
    given = inputs()
    loose = one("long_only", given, cap=0.05)  # 2 / 6
    torch.testing.assert_close(loose, one("long_only", given, cap=2 / 6, slack=0.0))
    with pytest.raises(ParameterError, match=r"at least 0\.1667"):
        one("long_only", given, cap=0.05, slack=0.0)


def test_what_is_given_is_known_by_name():
    assert LossInputs(torch.eye(2), future=torch.ones(3, 2)).given() == {"estimate", "future"}
    with pytest.raises(ParameterError, match="needs truth, got estimate"):
        LossInputs(torch.eye(2)).require("truth")
