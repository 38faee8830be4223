"""Heads with random weights on a spectral bundle."""

from dataclasses import replace

import numpy as np
from random_spectral import random_spectral_bundle

from eigenfolio.artifacts import Bundle
from eigenfolio.learned.heads import HEAD_INPUTS, PORTFOLIO_INPUTS, RISK_HORIZONS, RISK_LEVELS, Heads

N = len(HEAD_INPUTS)


def random_heads(*, seed=0, size=0.02, material=1.0, **changes) -> Heads:
    """Every head small, so that what it says stays near its intercept."""
    rng = np.random.default_rng(seed)

    def weights(*shape, intercept=0.0):
        drawn = size * rng.standard_normal(shape)
        drawn[..., 0] += intercept
        return drawn

    n_risk = N + len(PORTFOLIO_INPUTS)
    risk = weights(len(RISK_HORIZONS), 2, 1 + n_risk)
    risk[:, 1, 0] += np.log(0.3)
    heads = Heads(
        center=rng.standard_normal(N),
        scale=rng.uniform(0.5, 2.0, N),
        regime=weights(4, 1 + N),
        error=weights(1 + N, intercept=0.4),
        intensity=weights(2, 1 + N),
        intensity_calibration=np.array([1.6, 0.9]),
        targets=weights(3, 2, 1 + N, intercept=np.log(0.4)),
        targets_calibration=np.array([0.3, 0.2, 0.3]),
        risk=risk,
        risk_scores=np.tile(np.linspace(-2.5, 2.5, len(RISK_LEVELS)), (len(RISK_HORIZONS), 1)),
        risk_center=np.zeros(len(PORTFOLIO_INPUTS)),
        risk_scale=np.ones(len(PORTFOLIO_INPUTS)),
        material_share=np.array(material),
    )
    return replace(heads, **changes)


def bundle_with_heads(heads: Heads | None = None, **options) -> Bundle:
    """A random spectral bundle that holds these heads, or random ones."""
    bundle = random_spectral_bundle(**options)
    heads = random_heads() if heads is None else heads
    return replace(bundle, tensors={**bundle.tensors, **heads.tensors()})
