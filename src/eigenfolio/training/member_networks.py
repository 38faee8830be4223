"""Networks of different shapes in one ensemble, and the one shape in which a bundle keeps them.

A bundle has one width and one depth. What a member lacks of them is stored as weights that change nothing,

    width      units without an input and without an output
    depth      residual layers x + act(W x + b) with W = 0 and b = 0, act(0) being 0
    features   zeros in the columns of the first layers that read what the member does not see

so it says exactly what it said in training, at no cost beyond that of its widest and deepest neighbour. Which member
has which activation, depth and features is among the options of the bundle, unless all are plain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eigenfolio.artifacts import Bundle
from eigenfolio.models.networks.spectral import SpectralShrinkageNetwork
from eigenfolio.training.guards import dead_gradient
from eigenfolio.training.initial_weights import learned_names
from eigenfolio.training.input_families import EVERY_INPUT, kept_inputs
from eigenfolio.training.loop import History
from eigenfolio.training.spectral import spectral_network

__all__ = [
    "MemberShape",
    "deepened",
    "member_networks",
    "silenced",
    "stored_members",
    "stored_shapes",
    "widened",
    "without_expected_alarms",
]

_PLAIN = {"activation": "gelu", "depth": 1, "features": EVERY_INPUT}
_FIRST_LAYERS = {"token_in": ("token", "context"), "asset_in": ("asset", "context"), "summary_in": ("summary",)}


class MemberShape(NamedTuple):
    """Shape of one member's network.

    Attributes
    ----------
    n_units : int
        Hidden width.
    activation : str
        Of the hidden layers.
    depth : int
        Hidden layers behind the first in the asset and the summary nets.
    features : str
        Inputs that it sees, one of `eigenfolio.training.input_families.feature_choices`.
    """

    n_units: int
    activation: str = "gelu"
    depth: int = 1
    features: str = EVERY_INPUT

    @property
    def group(self) -> str:
        """Name of the members that train as one group with it, whatever they see.

        Examples
        --------
        >>> MemberShape(16, features="no_tails").group, MemberShape(8, "silu", 2).group
        ('units_16', 'units_8_silu_depth_2')
        """
        parts = [f"units_{self.n_units}"]
        parts += [self.activation] if self.activation != _PLAIN["activation"] else []
        parts += [f"depth_{self.depth}"] if self.depth != _PLAIN["depth"] else []
        return "_".join(parts)


def member_networks(shapes: Sequence[MemberShape], *, dropout: float) -> list[SpectralShrinkageNetwork]:
    """Networks of these shapes, not initialised; all have a mask of their inputs where one of them needs it."""
    masked = any(shape.features != EVERY_INPUT for shape in shapes)
    return [
        spectral_network(
            n_units=shape.n_units,
            dropout=dropout,
            activation=shape.activation,
            depth=shape.depth,
            kept=kept_inputs(shape.features) if masked else None,
        )
        for shape in shapes
    ]


def stored_members(
    networks: Sequence[SpectralShrinkageNetwork], shapes: Sequence[MemberShape]
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """What a bundle keeps of trained networks.

    Parameters
    ----------
    networks : sequence of SpectralShrinkageNetwork
    shapes : sequence of MemberShape
        Theirs.

    Returns
    -------
    tensors : dict of str to ndarray of shape (n_members, ...)
    options : dict
        `n_units`, and `members` unless all are plain.
    """
    n_units, depth = max(shape.n_units for shape in shapes), max(shape.depth for shape in shapes)
    states = []
    for network, shape in zip(networks, shapes, strict=True):
        all_of_it = network.state_dict()
        state = {name: all_of_it[name].cpu().numpy() for name in learned_names(network)}
        states.append(deepened(widened(silenced(state, shape.features), n_units), depth))
    options: dict[str, Any] = {"n_units": n_units}
    members = [{name: getattr(shape, name) for name in _PLAIN} for shape in shapes]
    if any(member != _PLAIN for member in members):
        options["members"] = members
    return {name: np.stack([state[name] for state in states]) for name in states[0]}, options


def stored_shapes(bundle: Bundle) -> list[MemberShape]:
    """Shapes in which the members of a spectral bundle can go on training; all have the width that is stored."""
    plain = [_PLAIN] * len(bundle.tensors["mixing"])
    return [MemberShape(bundle.options["n_units"], **member) for member in bundle.options.get("members", plain)]


def without_expected_alarms(history: History, shape: MemberShape) -> History:
    """The history of a member less what must be: without the level of volatility its slope gets no gradient."""
    expected = () if kept_inputs(shape.features)["summary"][-1] else (dead_gradient("level"),)
    return replace(history, alarms=tuple(alarm for alarm in history.alarms if alarm not in expected))


def silenced(state: Mapping[str, NDArray[Any]], features: str) -> dict[str, NDArray[Any]]:
    """Weights of a masked spectral network as those of one without a mask that says the same.

    Parameters
    ----------
    state : mapping of str to ndarray
        Of `SpectralShrinkageNetwork`.
    features : str
        What the network sees.

    Returns
    -------
    dict of str to ndarray
    """
    kept, quiet = kept_inputs(features), dict(state)
    for name, values in state.items():
        kinds = _FIRST_LAYERS.get(name.removesuffix(".weight").rsplit(".", 1)[-1])
        if name.endswith(".weight") and kinds is not None:
            quiet[name] = values * np.concatenate([kept[kind] for kind in kinds]).astype(values.dtype)
    quiet["level"] = state["level"] * kept["summary"][-1].astype(state["level"].dtype)
    return quiet


def deepened(state: Mapping[str, NDArray[Any]], depth: int) -> dict[str, NDArray[Any]]:
    """Weights of a spectral network as those of a deeper one that says the same.

    Parameters
    ----------
    state : mapping of str to ndarray
        Of `SpectralShrinkageNetwork`.
    depth : int
        At least that of the network.

    Returns
    -------
    dict of str to ndarray
    """
    deep = dict(state)
    for name, values in state.items():
        layer, _, kind = name.rpartition(".")
        if layer.endswith(("asset_hidden", "summary_hidden")):
            for k in range(depth - 1):
                deep.setdefault(f"{layer.removesuffix('hidden')}blocks.{k}.{kind}", np.zeros_like(values))
    return deep


def widened(state: Mapping[str, NDArray[Any]], n_units: int) -> dict[str, NDArray[Any]]:
    """Weights of a spectral network as those of a wider one that says the same.

    The further units have no input and no output. The first half of the units of the recurrence runs forwards and the
    second backwards, so each half is followed by its own new units.

    Parameters
    ----------
    state : mapping of str to ndarray
        Of `SpectralShrinkageNetwork`.
    n_units : int
        Even, at least the width that `state` has.

    Returns
    -------
    dict of str to ndarray
    """
    own = len(state["summary_hidden.bias"])
    if own == n_units:
        return dict(state)
    units = np.concatenate([np.arange(own // 2), n_units // 2 + np.arange(own - own // 2)])
    gates = np.concatenate([units, n_units + units])
    wide = {}
    for name, values in state.items():
        layer, kind = name.rsplit(".", 1) if "." in name else (name, "")
        if kind not in ("weight", "bias"):
            wide[name] = values
            continue
        last = layer.rsplit(".", 1)[-1]
        rows = gates if last == "gates" else np.arange(len(values)) if last.endswith("_out") else units
        size = {"gates": 2 * n_units}.get(last, len(values) if last.endswith("_out") else n_units)
        if kind == "bias":
            wide[name] = np.zeros(size, dtype=values.dtype)
            wide[name][rows] = values
            continue
        inner = last.endswith("_in")  # reads the inputs, whose number stays
        columns = np.arange(values.shape[1]) if inner else units
        wide[name] = np.zeros((size, values.shape[1] if inner else n_units), dtype=values.dtype)
        wide[name][np.ix_(rows, columns)] = values
    return wide
