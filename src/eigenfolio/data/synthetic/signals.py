"""Null markets, in which nothing can be predicted, and planted signals of a stated information coefficient.

A planted market has returns

    r[t] = B f[t] + s v[t],    v[t, i] = IC * z[t, i] + sqrt(1 - IC^2) * e[t, i]

with factor returns f (independent rows, in `panel.market`), loadings B, own volatilities s, own returns v of variance
one, and noise e that is independent across assets and rows. The signal z has variance one in every row and is a
function of own returns of rows <= t - delay, so `expected_returns[t] = s * IC * z[t]` is known at row t - delay.

    momentum         z[t, i] = sign[t - delay] / c[t] * (v[t - delay - lookback + 1, i] + ... + v[t - delay, i])
    lead-lag         z[t, i] = (sum of v[t - delay, j] over the edges j -> i) / c[i]

The divisors c are the exact standard deviations of the sums, which the planted dependence changes too; they follow
from a recursion of autocovariances (momentum) or a fixed point (lead-lag). For momentum sign is 1; in the
regime-dependent market it is a slow two-state Markov chain.

Information coefficient, exactly: the correlation of z[t, i] with v[t, i], of the signal known at t - delay with the
own (idiosyncratic) part of the return it predicts, per asset and row, over the assets that are predicted. The same for
each of them, so it is also the pooled correlation over assets and rows.

The oracle knows z. Its scores in closed form, with S_ii the total variance, rho_i = IC s_i / sqrt(S_ii), Omega the
covariance of a row given the rows before, M the covariance of the expected returns:

    return IC              mean of rho_i
    directional accuracy   mean of 1/2 + arcsin(rho_i) / pi;   of own returns 1/2 + arcsin(IC) / pi
    Sharpe ratio           E q / sqrt(E q + Var q),   E q = tr(Omega^-1 M),   Var q = 2 tr((Omega^-1 M)^2)

q[t] = mu' Omega^-1 mu is the mean and the variance, given the past, of the unconstrained mean-variance portfolio
w[t] = Omega^-1 mu[t] with risk aversion one; E and Var are over the normal mu. Gross of costs, times sqrt(252).
Expected returns have the sign of the coefficient in them, so in the scores of the oracle IC is its size.

Time: with the convention of the house a decision at row t with lag=1 earns row t + 2 first, so delay=2 is the
shortest that such a decision can earn in full; delay=1 is for lag=0.

References
----------
.. [1] R. C. Grinold (1989). The fundamental law of active management. Journal of Portfolio Management 15(3), 30-37.
.. [2] A. W. Lo and A. C. MacKinlay (1990). When are contrarian profits due to stock market overreaction? Review of
   Financial Studies 3(2), 175-205.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from eigenfolio.data.synthetic.derived import LOWEST_RETURN, StepPath, prices_of_returns, seed_number
from eigenfolio.data.synthetic.markets import ConstantCovariance, CovariancePath, SyntheticMarket
from eigenfolio.data.synthetic.resampling import resampled_panel, weighted_covariance
from eigenfolio.errors import ParameterError
from eigenfolio.panel import Panel

__all__ = [
    "PlantedMarket",
    "SignalScore",
    "lead_lag_market",
    "momentum_market",
    "null_market",
    "regime_momentum_market",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_MARKET_VOLATILITY = 0.010
_STYLE_VOLATILITY = 0.004
_PERIODS_PER_YEAR = 252


@dataclass(frozen=True)
class SignalScore:
    """How well a forecast of returns does, or how well the oracle's must do.

    Parameters
    ----------
    information_coefficient : float
        Correlation with own (idiosyncratic) returns, both over own volatility, pooled over assets and rows.
    return_information_coefficient : float
        The same with total returns, over their own volatility.
    directional_accuracy : float
        Share of total returns whose sign is the forecast's.
    own_directional_accuracy : float
        Share of own returns whose sign is the forecast's.
    sharpe_ratio : float
        Of the unconstrained mean-variance portfolio of the forecast, gross, annualised with 252 rows.
    """

    information_coefficient: float
    return_information_coefficient: float
    directional_accuracy: float
    own_directional_accuracy: float
    sharpe_ratio: float


_NO_SKILL = SignalScore(0.0, 0.0, 0.5, 0.5, 0.0)


@dataclass(frozen=True, eq=False)
class PlantedMarket(SyntheticMarket):
    """A market in which it is known what can be predicted.

    Parameters
    ----------
    panel, covariance, covariance_path, kind, seed, parameters
        As in `SyntheticMarket`; the path is given the rows before, so it does not hold the part that is known.
        `panel.market` holds the factor returns.
    expected_returns : DataFrame of shape (n_observations, n_assets)
        Mean of each return given the rows up to `delay` rows before it (and, where there are regimes, the state on
        that row); NaN in the first rows, whose past lies before the panel. The forecast to act on at row t - delay is
        that of row t.
    information_coefficient : float
        As the module defines it; 0 in a null market.
    delay : int
        Rows from the last row a forecast needs to the return it predicts.
    oracle_score : SignalScore
        In closed form, of a forecaster that knows `expected_returns`.
    unconditional_covariance : DataFrame of shape (n_assets, n_assets)
        Covariance of a row of which no past is known.
    own_volatility : Series of shape (n_assets,)
        Volatility of the own returns, per period.
    loadings : DataFrame of shape (n_assets, n_factors)
        Loadings on the series of `panel.market`; no columns where own returns are total returns.
    predicted : ndarray of bool of shape (n_assets,)
        Assets that have a signal.
    edge_index : ndarray of shape (2, n_edges), optional
        Leader, then follower, as positions of assets (lead-lag).
    regimes : Series of shape (n_observations,), optional
        Sign of momentum, 1 or -1, as it stands on each row; returns `delay` rows later obey it.
    """

    expected_returns: pd.DataFrame = field(kw_only=True)
    information_coefficient: float = field(kw_only=True)
    delay: int = field(kw_only=True)
    oracle_score: SignalScore = field(kw_only=True)
    unconditional_covariance: pd.DataFrame = field(kw_only=True)
    own_volatility: pd.Series = field(kw_only=True)
    loadings: pd.DataFrame = field(kw_only=True)
    predicted: npt.NDArray[np.bool_] = field(kw_only=True)
    edge_index: IntArray | None = field(default=None, kw_only=True)
    regimes: pd.Series | None = field(default=None, kw_only=True)

    @property
    def own_returns(self) -> pd.DataFrame:
        """Returns without their factor part, over own volatility: v of the module's formula."""
        returns = self.panel.returns
        if len(self.loadings.columns):
            factors = self.panel.market[list(self.loadings.columns)].to_numpy()
            returns = returns - factors @ self.loadings.to_numpy().T
        return returns / self.own_volatility

    def measured_score(self, forecast: pd.DataFrame) -> SignalScore:
        """Score any forecast on this market, with the definitions of the oracle's score.

        Parameters
        ----------
        forecast : DataFrame of shape (n_observations, n_assets)
            Forecast of each return, standing on the row of the return; rows with a missing value are left out.

        Returns
        -------
        SignalScore
            0 or one half where a forecast does not vary. The portfolio inverts the last row's true covariance.

        Raises
        ------
        ParameterError
            If labels differ from the panel's or no row is complete.
        """
        returns = self.panel.returns
        if not forecast.index.equals(returns.index) or not forecast.columns.equals(returns.columns):
            raise ParameterError("a forecast must have the dates and assets of panel.returns")
        complete = np.isfinite(forecast.to_numpy(dtype=float) + returns.to_numpy()).all(axis=1)
        if not complete.any():
            raise ParameterError("a forecast must have at least one row without missing values")
        total, values = returns.to_numpy()[complete], forecast.to_numpy(dtype=float)[complete]
        x = (values / self.own_volatility.to_numpy())[:, self.predicted].ravel()
        own = self.own_returns.to_numpy()[complete][:, self.predicted].ravel()
        deviation = np.sqrt(np.diag(self.unconditional_covariance))
        scaled = (total / deviation)[:, self.predicted].ravel()
        weights = np.linalg.lstsq(self.covariance.to_numpy(), values.T, rcond=None)[0].T
        earned = np.einsum("ti,ti->t", weights, total)
        spread = float(np.std(earned))
        return SignalScore(
            _correlation(x, own),
            _correlation(x, scaled),
            _agreement(x, scaled),
            _agreement(x, own),
            float(np.mean(earned)) / spread * np.sqrt(_PERIODS_PER_YEAR) if spread > 0 else 0.0,
        )


def null_market(
    source: Panel | pd.DataFrame,
    n_observations: int | None = None,
    *,
    method: Literal["rows", "signs"] = "rows",
    seed: int | np.random.Generator = 0,
    start: str = "2010-01-04",
) -> PlantedMarket:
    """Draw a market in which no return can be predicted, with a given or a real covariance.

    Parameters
    ----------
    source : Panel or DataFrame of shape (n_assets, n_assets)
        A panel, whose rows are used, or a covariance, from which normal rows are drawn.
    n_observations : int, optional
        Rows; needed with a covariance, by default those of the panel.
    method : {"rows", "signs"}
        Of a panel: "rows" draws rows uniformly, each with a random sign, so rows are independent and identically
        distributed. "signs" keeps the order and flips each row's sign at random: sizes stay as predictable as they
        were, directions are not. Nothing else is read of a covariance than itself.
    seed : int or Generator
        Randomness.
    start : str
        Date of the first price, with a covariance; a panel keeps its own first date.

    Returns
    -------
    PlantedMarket
        Expected returns and information coefficient are 0. With a panel the mean is zero and the covariance is
        X'X / T over its rows (entry by entry where values are missing); with "signs" it is the average over the rows.
        A panel's returns are cut to -95 % and 95 % first, so that signs can flip.

    Raises
    ------
    ParameterError
        If the rows are not stated where they must be, or are stated otherwise than the order asks for.

    Examples
    --------
    >>> from eigenfolio.data.synthetic import factor_market
    >>> source = factor_market(3, 200, seed=1)
    >>> market = null_market(source.panel, 500, seed=2)
    >>> market.information_coefficient, float(market.expected_returns.abs().to_numpy().max())
    (0.0, 0.0)
    >>> null_market(source.covariance, 100).panel.n_observations
    100
    """
    rng = np.random.default_rng(seed)
    if method not in get_args(Literal["rows", "signs"]):
        raise ParameterError(f"method must be rows or signs, got {method!r}")
    if isinstance(source, pd.DataFrame):
        names = [str(name) for name in source.columns]
        if n_observations is None or n_observations < 1:
            raise ParameterError(
                f"a null market of a covariance needs n_observations of at least 1, got {n_observations}"
            )
        if method != "rows":
            raise ParameterError(
                "a covariance has no rows whose signs could flip; use method='rows' or hand over a panel"
            )
        covariance = source.to_numpy(dtype=float)
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        returns = rng.standard_normal((n_observations, len(names))) @ root.T
        panel = _panel(returns, names, None, "a null market of normal rows", start)
        parameters: dict[str, Any] = {"method": "normal", "n_observations": n_observations}
    else:
        names = source.asset_names
        used = np.flatnonzero(np.isfinite(source.returns.to_numpy()).any(axis=1))
        rows = np.clip(source.returns.to_numpy()[used], LOWEST_RETURN, -LOWEST_RETURN)
        covariance = weighted_covariance(rows, np.full(len(rows), 1.0 / len(rows)), names, centred=False)
        n_rows = len(rows) if n_observations is None else n_observations
        if n_rows < 1 or (method == "signs" and n_rows != len(rows)):
            raise ParameterError(
                f"a null market by {method} needs {len(rows) if method == 'signs' else 'at least 1'} rows, "
                f"got {n_rows}; leave n_observations out to take those of the panel"
            )
        kept = rng.integers(len(rows), size=n_rows) if method == "rows" else np.arange(n_rows)
        signs = np.where(rng.random((n_rows, 1)) < 0.5, -1.0, 1.0)
        panel = resampled_panel(source, rows[kept] * signs, used[kept], f"a null market by random {method}")
        parameters = {"method": method, "n_observations": n_rows, "source": source.fingerprint}
    frame = pd.DataFrame(covariance, index=names, columns=names)
    return PlantedMarket(
        panel,
        frame,
        ConstantCovariance(covariance, panel.n_observations),
        "null",
        seed_number(seed),
        parameters,
        expected_returns=pd.DataFrame(0.0, index=panel.index, columns=names),
        information_coefficient=0.0,
        delay=1,
        oracle_score=_NO_SKILL,
        unconditional_covariance=frame,
        own_volatility=pd.Series(np.sqrt(np.diag(covariance)), index=names),
        loadings=pd.DataFrame(index=names),
        predicted=np.ones(len(names), dtype=bool),
    )


def momentum_market(
    n_assets: int,
    n_observations: int,
    *,
    information_coefficient: float = 0.05,
    lookback: int = 21,
    delay: int = 2,
    n_factors: int = 3,
    seed: int | np.random.Generator = 0,
    start: str = "2010-01-04",
) -> PlantedMarket:
    """Draw a market in which own returns of the past `lookback` rows predict own returns.

    Parameters
    ----------
    n_assets, n_observations : int
        Size; rows must exceed `lookback + delay - 1`.
    information_coefficient : float in (-1, 1)
        As the module defines it; negative is reversal.
    lookback : int
        Rows that are summed.
    delay : int
        Rows from the last of them to the return, at least 1.
    n_factors : int
        Factors that cannot be predicted, the market among them.
    seed : int or Generator
        Randomness.
    start : str
        Date of the first price.

    Returns
    -------
    PlantedMarket

    Raises
    ------
    ParameterError
        If an option is out of range.

    Examples
    --------
    >>> market = momentum_market(20, 1_000, information_coefficient=0.1, seed=1)
    >>> market.information_coefficient, round(market.oracle_score.own_directional_accuracy, 3)
    (0.1, 0.532)
    >>> measured = market.measured_score(market.expected_returns)
    >>> 0.07 < measured.information_coefficient < 0.13
    True
    """
    rng = np.random.default_rng(seed)
    _check(n_assets, n_observations, information_coefficient, delay, n_factors, lookback)
    law = _Law.draw(n_assets, n_factors, rng)
    signs = np.ones(n_observations)
    own, signal = _momentum(
        signs, information_coefficient, lookback, delay, rng.standard_normal((n_observations, n_assets))
    )
    options = {"lookback": lookback, "delay": delay, "n_factors": n_factors}
    return _planted(
        law, own, signal, information_coefficient, delay, rng, kind="momentum", seed=seed, start=start, options=options
    )


def regime_momentum_market(
    n_assets: int,
    n_observations: int,
    *,
    information_coefficient: float = 0.05,
    lookback: int = 21,
    delay: int = 2,
    persistence: float = 0.99,
    n_factors: int = 3,
    seed: int | np.random.Generator = 0,
    start: str = "2010-01-04",
) -> PlantedMarket:
    """Draw a market with momentum in one regime and reversal in the other.

    Parameters
    ----------
    n_assets, n_observations, lookback, delay, n_factors, seed, start
        As in `momentum_market`.
    information_coefficient : float in (-1, 1)
        Of the signed signal: of a forecaster that knows the regime. One that does not know it has 0.
    persistence : float in (0, 1)
        Probability that the regime of the next row is that of this one; either begins with probability 1/2.

    Returns
    -------
    PlantedMarket
        `regimes` holds the sign; the oracle knows it `delay` rows before the return, no sooner.

    Raises
    ------
    ParameterError
        If an option is out of range.

    Examples
    --------
    >>> market = regime_momentum_market(20, 1_000, information_coefficient=0.1, seed=1)
    >>> sorted(market.regimes.unique().tolist())
    [-1.0, 1.0]
    """
    rng = np.random.default_rng(seed)
    _check(n_assets, n_observations, information_coefficient, delay, n_factors, lookback)
    if not 0 < persistence < 1:
        raise ParameterError(f"persistence must be in (0, 1), got {persistence}")
    law = _Law.draw(n_assets, n_factors, rng)
    flips = rng.random(n_observations) > persistence
    flips[0] = rng.random() < 0.5
    signs = np.where(np.cumsum(flips) % 2 == 1, -1.0, 1.0)
    own, signal = _momentum(
        signs, information_coefficient, lookback, delay, rng.standard_normal((n_observations, n_assets))
    )
    options = {"lookback": lookback, "delay": delay, "persistence": persistence, "n_factors": n_factors}
    return _planted(
        law, own, signal, information_coefficient, delay, rng,
        kind="regime momentum", seed=seed, start=start, options=options, regimes=signs,
    )  # fmt: skip


def lead_lag_market(
    n_assets: int,
    n_observations: int,
    *,
    information_coefficient: float = 0.05,
    edge_index: npt.ArrayLike | None = None,
    leaders_per_follower: int = 2,
    delay: int = 2,
    n_factors: int = 3,
    seed: int | np.random.Generator = 0,
    start: str = "2010-01-04",
) -> PlantedMarket:
    """Draw a market in which own returns of leaders predict those of followers, along a known directed graph.

    Parameters
    ----------
    n_assets, n_observations, delay, n_factors, seed, start
        As in `momentum_market`; the return of j at row t predicts that of i at row t + delay.
    information_coefficient : float in (-1, 1)
        Of the sum of a follower's leaders; assets without leaders cannot be predicted.
    edge_index : array-like of int of shape (2, n_edges), optional
        Leader, then follower, as positions of assets; no edge twice. None draws one: half of the assets follow, each
        `leaders_per_follower` of the other half.
    leaders_per_follower : int
        Edges into each follower, where the graph is drawn.

    Returns
    -------
    PlantedMarket
        `edge_index` is the graph.

    Raises
    ------
    ParameterError
        If an option is out of range or the graph is malformed.

    Examples
    --------
    >>> market = lead_lag_market(3, 500, edge_index=[[0, 0], [1, 2]], information_coefficient=0.2, seed=1)
    >>> market.predicted.tolist()
    [False, True, True]
    """
    rng = np.random.default_rng(seed)
    _check(n_assets, n_observations, information_coefficient, delay, n_factors, 1)
    if edge_index is None:
        edges = _drawn_graph(n_assets, leaders_per_follower, rng)
    else:
        edges = _checked_graph(edge_index, n_assets)
    law = _Law.draw(n_assets, n_factors, rng)
    incoming = np.zeros((n_assets, n_assets))
    incoming[edges[1], edges[0]] = 1.0
    weights, own_covariance = _lead_lag_law(incoming, information_coefficient)
    predicted = incoming.sum(axis=1) > 0
    noise = rng.standard_normal((n_observations, n_assets))
    own = noise * np.sqrt(1.0 - information_coefficient**2 * predicted)
    own[:delay] = noise[:delay] @ np.linalg.cholesky(own_covariance).T
    signal = np.full_like(own, np.nan)
    for row in range(delay, n_observations):
        signal[row] = weights @ own[row - delay]
        own[row] += information_coefficient * signal[row]
    options = {
        "delay": delay,
        "n_factors": n_factors,
        "n_edges": edges.shape[1],
        "leaders_per_follower": leaders_per_follower if edge_index is None else None,
    }
    return _planted(
        law, own, signal, information_coefficient, delay, rng, kind="lead-lag", seed=seed, start=start, options=options,
        edge_index=edges, own_covariance=own_covariance, signal_covariance=weights @ own_covariance @ weights.T,
        predicted=predicted,
    )  # fmt: skip


# ---------------------------------------------------------------------------- laws


@dataclass(frozen=True)
class _Law:
    """Loadings, factor volatilities and own volatilities, drawn like those of `factor_market`."""

    loadings: FloatArray
    factor_volatility: FloatArray
    own_volatility: FloatArray

    @classmethod
    def draw(cls, n_assets: int, n_factors: int, rng: np.random.Generator) -> _Law:
        loadings = rng.normal(size=(n_assets, n_factors))
        loadings[:, :1] = 1.0 + 0.3 * loadings[:, :1]
        factor_volatility = np.full(n_factors, _STYLE_VOLATILITY)
        factor_volatility[:1] = _MARKET_VOLATILITY
        return cls(loadings, factor_volatility, 0.012 * np.exp(0.4 * rng.normal(size=n_assets)))

    def covariance(self, own: FloatArray) -> FloatArray:
        """Covariance of the returns for a covariance of the own returns v."""
        scaled = self.own_volatility[:, None] * own * self.own_volatility
        return (self.loadings * self.factor_volatility**2) @ self.loadings.T + scaled


def _momentum(
    signs: FloatArray, coefficient: float, lookback: int, delay: int, noise: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Own returns and signals; `noise` gives the first lookback + delay - 1 rows, which have no signal.

    `recent[g, h]` is the covariance of v[t - 1 - g] with v[t - 1 - h], the same for every asset because the signs
    are shared. It gives the exact divisor of each row, so that every v has variance one.
    """
    n_lags = lookback + delay - 1
    own, signal = noise.copy(), np.full_like(noise, np.nan)
    recent = np.eye(n_lags)
    left = np.sqrt(1.0 - coefficient**2)
    for row in range(n_lags, len(noise)):
        deviation = np.sqrt(recent[delay - 1 :, delay - 1 :].sum())
        sign = signs[row - delay]
        signal[row] = sign * own[row - n_lags : row - delay + 1].sum(axis=0) / deviation
        own[row] = coefficient * signal[row] + left * noise[row]
        newest = sign * coefficient / deviation * recent[delay - 1 :].sum(axis=0)
        recent[1:, 1:] = recent[:-1, :-1].copy()
        recent[0, 0] = 1.0
        recent[0, 1:] = recent[1:, 0] = newest[:-1]
    return own, signal


def _lead_lag_law(incoming: FloatArray, coefficient: float) -> tuple[FloatArray, FloatArray]:
    """Weights of the leaders in each follower's signal, and the covariance of the own returns.

    With G the weights, rows scaled so that (G V G')_ii = 1, the covariance V solves
    V = I + IC^2 (G V G' without its diagonal); the iteration contracts by IC^2 or faster.
    """
    covariance = np.eye(len(incoming))
    weights = incoming
    for _ in range(10_000):
        variance = np.einsum("ij,jk,ik->i", incoming, covariance, incoming, optimize=True)
        weights = incoming / np.sqrt(np.where(variance > 0, variance, 1.0))[:, None]
        implied = coefficient**2 * (weights @ covariance @ weights.T)
        np.fill_diagonal(implied, 1.0)
        change = np.abs(implied - covariance).max()
        covariance = (implied + implied.T) / 2.0
        if change < 1e-14:
            return weights, covariance
    raise ParameterError(f"this graph has no stationary law with information_coefficient={coefficient}; lower it")


def _planted(
    law: _Law,
    own: FloatArray,
    signal: FloatArray,
    coefficient: float,
    delay: int,
    rng: np.random.Generator,
    *,
    kind: str,
    seed: int | np.random.Generator,
    start: str,
    options: dict[str, Any],
    regimes: FloatArray | None = None,
    edge_index: IntArray | None = None,
    own_covariance: FloatArray | None = None,
    signal_covariance: FloatArray | None = None,
    predicted: npt.NDArray[np.bool_] | None = None,
) -> PlantedMarket:
    """Put factors, own returns and truth together."""
    n_rows, n_assets = own.shape
    names = [f"A{i:03d}" for i in range(n_assets)]
    own_covariance = np.eye(n_assets) if own_covariance is None else own_covariance
    signal_covariance = np.eye(n_assets) if signal_covariance is None else signal_covariance
    predicted = np.ones(n_assets, dtype=bool) if predicted is None else predicted
    factors = rng.standard_normal((n_rows, len(law.factor_volatility))) * law.factor_volatility
    returns = factors @ law.loadings.T + own * law.own_volatility
    factor_names = [f"F{i}" for i in range(factors.shape[1])]
    panel = _panel(returns, names, pd.DataFrame(factors, columns=factor_names), f"a planted {kind} market", start)

    unconditional = law.covariance(own_covariance)
    conditional = law.covariance(np.diag(1.0 - coefficient**2 * predicted))
    expected = law.own_volatility * coefficient * signal
    n_unknown = int(np.isnan(expected[:, 0]).sum())
    path: CovariancePath = StepPath(unconditional, conditional, n_unknown, n_rows)
    of_means = coefficient**2 * law.own_volatility[:, None] * signal_covariance * law.own_volatility
    return PlantedMarket(
        panel,
        pd.DataFrame(conditional, index=names, columns=names),
        path,
        kind,
        seed_number(seed),
        {"information_coefficient": coefficient, **options},
        expected_returns=pd.DataFrame(expected, index=panel.index, columns=names),
        information_coefficient=coefficient,
        delay=delay,
        oracle_score=_oracle_score(coefficient, law.own_volatility, unconditional, conditional, of_means, predicted),
        unconditional_covariance=pd.DataFrame(unconditional, index=names, columns=names),
        own_volatility=pd.Series(law.own_volatility, index=names),
        loadings=pd.DataFrame(law.loadings, index=names, columns=factor_names),
        predicted=predicted,
        edge_index=edge_index,
        regimes=None if regimes is None else pd.Series(regimes, index=panel.index, name="regime"),
    )


def _oracle_score(
    coefficient: float,
    own_volatility: FloatArray,
    unconditional: FloatArray,
    conditional: FloatArray,
    of_means: FloatArray,
    predicted: npt.NDArray[np.bool_],
) -> SignalScore:
    """The formulas of the module, for the size of the coefficient: expected returns have its sign in them."""
    size = abs(coefficient)
    rho = (size * own_volatility / np.sqrt(np.diag(unconditional)))[predicted]
    ratio = np.linalg.solve(conditional, of_means)
    mean = float(np.trace(ratio))
    variance = 2.0 * float(np.sum(ratio * ratio.T))
    sharpe = mean / np.sqrt(mean + variance) * np.sqrt(_PERIODS_PER_YEAR) if mean > 0 else 0.0
    return SignalScore(
        size,
        float(rho.mean()),
        float(np.mean(0.5 + np.arcsin(rho) / np.pi)),
        float(0.5 + np.arcsin(size) / np.pi),
        float(sharpe),
    )


# ---------------------------------------------------------------------------- helpers


def _panel(returns: FloatArray, names: list[str], market: pd.DataFrame | None, source: str, start: str) -> Panel:
    dates = pd.bdate_range(start, periods=len(returns) + 1, name="date")
    if market is not None:
        market = market.set_axis(dates[1:]) if len(market.columns) else None
    prices = pd.DataFrame(prices_of_returns(returns), index=dates, columns=names)
    return Panel.from_prices(prices, market=market, source=source)


def _correlation(x: FloatArray, y: FloatArray) -> float:
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 0 else 0.0


def _agreement(x: FloatArray, y: FloatArray) -> float:
    """Share of equal signs among the pairs in which neither is zero; one half if there is none."""
    both = (x != 0) & (y != 0)
    return float(np.mean(np.sign(x[both]) == np.sign(y[both]))) if both.any() else 0.5


def _drawn_graph(n_assets: int, leaders_per_follower: int, rng: np.random.Generator) -> IntArray:
    n_followers = n_assets // 2
    if n_followers < 1 or not 1 <= leaders_per_follower <= n_assets - n_followers:
        raise ParameterError(
            f"a lead-lag graph needs at least 2 assets and, with {n_assets}, 1 to {n_assets - n_followers} leaders per "
            f"follower, got {leaders_per_follower}"
        )
    order = rng.permutation(n_assets)
    leaders, followers = order[n_followers:], np.sort(order[:n_followers])
    chosen = [np.sort(rng.choice(leaders, size=leaders_per_follower, replace=False)) for _ in followers]
    return np.stack([np.concatenate(chosen), np.repeat(followers, leaders_per_follower)])


def _checked_graph(edge_index: npt.ArrayLike, n_assets: int) -> IntArray:
    edges = np.asarray(edge_index)
    if edges.ndim != 2 or edges.shape[0] != 2 or edges.shape[1] < 1 or edges.dtype.kind not in "iu":
        raise ParameterError(
            f"edge_index must be whole numbers of shape (2, n_edges), got {edges.dtype} of shape {edges.shape}"
        )
    if edges.min() < 0 or edges.max() >= n_assets:
        raise ParameterError(
            f"edge_index must hold positions from 0 to {n_assets - 1}, got {edges.min()} to {edges.max()}"
        )
    if np.unique(edges, axis=1).shape[1] < edges.shape[1]:
        raise ParameterError("edge_index holds an edge twice; give each once")
    return edges.astype(np.int64)


def _check(n_assets: int, n_observations: int, coefficient: float, delay: int, n_factors: int, lookback: int) -> None:
    if n_assets < 1 or n_factors < 0 or delay < 1 or lookback < 1:
        raise ParameterError(
            "a planted market needs at least one asset, a delay and a lookback of at least 1 and no negative number of "
            f"factors, got n_assets={n_assets}, delay={delay}, lookback={lookback}, n_factors={n_factors}"
        )
    if not -1 < coefficient < 1:
        raise ParameterError(f"information_coefficient must be in (-1, 1), got {coefficient}")
    if n_observations < lookback + delay:
        raise ParameterError(
            f"lookback={lookback} and delay={delay} need at least {lookback + delay} rows, got {n_observations}"
        )
