r"""Sizes of the shrinkage networks by the square root of the universe, smaller where windows are few.

    units of the first layer = c sqrt(n) min(1, sqrt(windows / 4000)),    each further layer half of the one before

with c = 12.8 (attention) and 16 (dense), so that 100 assets and ample windows get the attention network of 128 and 64
units and a dense one of 160, 80 and 40; everything is rounded to eight units and kept inside the ranges of
`AttentionOptions` and `DenseOptions`. Units that grow with the root of n let the operations of a forward pass grow more
slowly than the n^3 of the eigendecomposition that every estimate makes anyway: sized for n >= 50 assets they stay below
30 n^3, about three `eigh` in time at 50 assets and one at 200 (`benchmarks/sizing.py`). The widest network that the
ranges allow takes 219 n^3 at 50. The sources ask for sqrt(n) and for smaller networks when data are few and give no
constants; these are a choice that keeps the default widths at 100 assets. Below 2,000 windows dropout rises to 0.5
(input dropout to 0.2) and the L2 regularisation tenfold; a dense network then has two layers of at most 128 units.
"""

from __future__ import annotations

import math
from typing import Literal, overload

from eigenfolio.errors import ParameterError
from eigenfolio.models.networks.attention import AttentionOptions
from eigenfolio.models.networks.dense import DenseOptions

__all__ = ["AMPLE_WINDOWS", "FEW_WINDOWS", "UNITS_PER_ROOT_ASSET", "sized_options"]

UNITS_PER_ROOT_ASSET = {"attention": 12.8, "dense": 16.0}
AMPLE_WINDOWS = 4000
FEW_WINDOWS = 2000


@overload
def sized_options(
    network: Literal["attention"], n_assets: int, n_windows: int | None = None, *, base: AttentionOptions | None = None
) -> AttentionOptions: ...
@overload
def sized_options(
    network: Literal["dense"], n_assets: int, n_windows: int | None = None, *, base: DenseOptions | None = None
) -> DenseOptions: ...
def sized_options(
    network: Literal["attention", "dense"],
    n_assets: int,
    n_windows: int | None = None,
    *,
    base: AttentionOptions | DenseOptions | None = None,
) -> AttentionOptions | DenseOptions:
    """Options of a network for universes of about `n_assets`.

    Parameters
    ----------
    network : {"attention", "dense"}
    n_assets : int
        At least 1.
    n_windows : int, optional
        Training windows; ample without it.
    base : AttentionOptions or DenseOptions, optional
        What is not a size or a regularisation is taken from it.

    Returns
    -------
    AttentionOptions or DenseOptions

    Raises
    ------
    ParameterError
        If a number is below 1 or the network has another name.

    Examples
    --------
    >>> sized_options("attention", 100).extractor_sizes, sized_options("dense", 100).hidden_sizes
    ((128, 64), (160, 80, 40))
    >>> few = sized_options("dense", 100, 500)
    >>> few.hidden_sizes, few.dropout, few.input_dropout
    ((56, 32), 0.5, 0.2)
    """
    if network not in UNITS_PER_ROOT_ASSET:
        raise ParameterError(f"network must be 'attention' or 'dense' to be sized, got {network!r}")
    if n_assets < 1 or (n_windows is not None and n_windows < 1):
        raise ParameterError(f"sizes need at least one asset and one window, got {n_assets} and {n_windows}")
    share = 1.0 if n_windows is None else min(1.0, math.sqrt(n_windows / AMPLE_WINDOWS))
    first = UNITS_PER_ROOT_ASSET[network] * math.sqrt(n_assets) * share
    few = n_windows is not None and n_windows < FEW_WINDOWS
    if network == "attention":
        attention = base if isinstance(base, AttentionOptions) else AttentionOptions()
        return _attention(attention, first, few=few)
    return _dense(base if isinstance(base, DenseOptions) else DenseOptions(), first, few=few)


def _attention(base: AttentionOptions, first: float, *, few: bool) -> AttentionOptions:
    changes = {
        "extractor_sizes": (_units(first, 64, 256), _units(first / 2, 64, 256)),
        "block_units": _units(first / 2, 32, 128),
        "head_sizes": (_units(first / 4, 16, 64), _units(first / 8, 16, 64)),
        "attention_size": base.n_heads * max(1, _units(first / 4, 16, 64) // base.n_heads),
        **({"dropout": 0.5, "l2": 1e-3} if few else {}),
    }
    return AttentionOptions.model_validate({**base.model_dump(), **changes})


def _dense(base: DenseOptions, first: float, *, few: bool) -> DenseOptions:
    if few:
        sizes: tuple[int, ...] = (_units(first, 32, 128), _units(first / 2, 16, 128))
    else:
        sizes = (_units(first, 128, 256), _units(first / 2, 64, 128), _units(first / 4, 32, 64))
    changes = {"hidden_sizes": sizes, **({"dropout": 0.5, "input_dropout": 0.2, "l2": 1e-2} if few else {})}
    return DenseOptions.model_validate({**base.model_dump(), **changes})


def _units(wanted: float, low: int, high: int) -> int:
    """The nearest multiple of eight inside a range."""
    return min(max(8 * round(wanted / 8), low), high)
