r"""How good forecasts are, of returns, intensities or any other number.

With forecasts f and realisations y, over all pairs that are both there:

    mse = mean (f - y)^2,    mae = mean |f - y|,    r2 = 1 - sum (f - y)^2 / sum y^2

The R2 is against the forecast of zero, the right yardstick for returns: against their mean it would reward knowing
the mean of the future. The correlation keeps its sign; a forecast that is reliably wrong is not a good one. Direction
is compared with the share of the more frequent one, and tested by `pesaran_timmermann_test`.

An intensity forecast is judged against the intensity that would have been best, known on simulated markets: its error,
and whether it moves up when the best one does.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eigenfolio.errors import DataError

__all__ = ["ForecastMeasures", "IntensityAccuracy", "forecast_measures", "intensity_accuracy"]


@dataclass(frozen=True)
class ForecastMeasures:
    """What a forecast was worth.

    Attributes
    ----------
    mse, mae : float
        Mean squared and mean absolute error, in the (squared) unit of the forecast.
    r2 : float
        Against the forecast of zero; at most 1, negative where zero would have been better. NaN where all
        realisations are zero.
    correlation : float in [-1, 1]
        Signed; NaN where one side never varies.
    directional_accuracy : float in [0, 1]
        Share of pairs with the same direction ("up" is above zero).
    majority_rate : float in [0.5, 1]
        Accuracy of always forecasting the more frequent direction.
    n_observations : int
        Pairs used.
    """

    mse: float
    mae: float
    r2: float
    correlation: float
    directional_accuracy: float
    majority_rate: float
    n_observations: int

    def to_dict(self) -> dict[str, float]:
        """Plain values, for tables and JSON."""
        return asdict(self)


def forecast_measures(forecast: ArrayLike, realised: ArrayLike) -> ForecastMeasures:
    """Measure forecasts against what came, all pairs pooled.

    Parameters
    ----------
    forecast, realised : array-like of shape (n_observations,) or (n_observations, n_assets)
        Same shape; a pair with a NaN on either side is left out.

    Returns
    -------
    ForecastMeasures

    Raises
    ------
    DataError
        If shapes differ, a value is infinite, or fewer than two pairs are left.

    Examples
    --------
    >>> found = forecast_measures([1.0, -1.0, 1.0], [2.0, -1.0, -1.0])
    >>> round(found.mse, 4), round(found.r2, 4), round(found.directional_accuracy, 4)
    (1.6667, 0.1667, 0.6667)
    """
    f, y = _pairs(forecast, realised)
    errors, energy = f - y, float((y**2).sum())
    rises = float((y > 0.0).mean())
    return ForecastMeasures(
        mse=float((errors**2).mean()),
        mae=float(np.abs(errors).mean()),
        r2=1.0 - float((errors**2).sum()) / energy if energy > 0.0 else float("nan"),
        correlation=_correlation(f, y),
        directional_accuracy=float(((f > 0.0) == (y > 0.0)).mean()),
        majority_rate=max(rises, 1.0 - rises),
        n_observations=f.size,
    )


@dataclass(frozen=True)
class IntensityAccuracy:
    """How near predicted shrinkage intensities are to the best ones.

    Attributes
    ----------
    rmse, mae, bias : float
        Of predicted less best.
    correlation : float in [-1, 1]
        Over the dates; NaN where one side never varies.
    direction : float in [0, 1]
        Share of the steps of the best intensity whose direction the prediction shares; NaN without a step.
    n_observations, n_steps : int
        Dates, and steps between them in which the best intensity moved.
    """

    rmse: float
    mae: float
    bias: float
    correlation: float
    direction: float
    n_observations: int
    n_steps: int


def intensity_accuracy(predicted: ArrayLike, best: ArrayLike) -> IntensityAccuracy:
    """Measure predicted intensities against the best ones.

    Parameters
    ----------
    predicted, best : array-like of shape (n_dates,)
        In [0, 1], in time order.

    Returns
    -------
    IntensityAccuracy

    Raises
    ------
    DataError
        If the lists differ, leave [0, 1], or have fewer than two dates.

    Examples
    --------
    >>> found = intensity_accuracy([0.2, 0.4, 0.3], [0.1, 0.5, 0.6])
    >>> round(found.rmse, 4), found.direction, found.n_steps
    (0.1915, 0.5, 2)
    """
    p, b = np.asarray(predicted, dtype=float), np.asarray(best, dtype=float)
    if p.ndim != 1 or p.shape != b.shape or p.size < 2:
        raise DataError(f"predicted and best must be lists of at least two dates, got shapes {p.shape} and {b.shape}")
    for name, values in (("predicted", p), ("best", b)):
        if not ((values >= 0.0) & (values <= 1.0)).all():
            raise DataError(f"{name} intensities must lie in [0, 1]; give shrinkage_ as it is")
    moved = np.diff(b) != 0.0
    agree = np.sign(np.diff(p))[moved] == np.sign(np.diff(b))[moved]
    return IntensityAccuracy(
        rmse=float(np.sqrt(((p - b) ** 2).mean())),
        mae=float(np.abs(p - b).mean()),
        bias=float((p - b).mean()),
        correlation=_correlation(p, b),
        direction=float(agree.mean()) if agree.size else float("nan"),
        n_observations=p.size,
        n_steps=int(moved.sum()),
    )


def _pairs(forecast: ArrayLike, realised: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    f, y = np.asarray(forecast, dtype=float), np.asarray(realised, dtype=float)
    if f.shape != y.shape or f.ndim not in (1, 2):
        raise DataError(f"forecast and realised must have one shape, got {f.shape} and {y.shape}")
    if np.isinf(f).any() or np.isinf(y).any():
        raise DataError("forecast and realised must be finite, or NaN where missing")
    both = np.isfinite(f) & np.isfinite(y)
    if both.sum() < 2:
        raise DataError(f"{int(both.sum())} pairs of forecast and realisation are left; at least two are needed")
    return f[both], y[both]


def _correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    # Rounding leaves a constant list a deviation of about 1e-17 times its level.
    if any(values.std() <= 1e-14 * np.abs(values).max() for values in (x, y)):
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])
