r"""A spectral network with outputs that only its training needs.

    features   [ last hidden layer of the summary net,  mean over tokens of each spectrum's y + scan(y) ]
    variance   ln var of logit delta = w' features                          a layer, where asked for
    domain     logit = u' gelu(U reversed(features))                        a classifier, where asked for

`reversed` is the identity whose gradient changes its sign [1]_: what makes the classifier better makes the features
worse for it. Features are taken without dropout. The heads are left behind when training ends.

References
----------
.. [1] Y. Ganin et al. (2016). Domain-adversarial training of neural networks. Journal of Machine Learning Research
   17(59), 1-35.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from eigenfolio.models.networks.spectral import ACTIVATIONS, SpectralOutput, SpectralShrinkageNetwork

__all__ = ["HeadOutput", "SpectralHeads", "reversed_gradient"]


class HeadOutput(NamedTuple):
    """What a network with heads says of each window: a `SpectralOutput`, and what training wants beyond.

    Attributes
    ----------
    eigenvalue_change, volatility_change, shares, log_scale : Tensor
        See `eigenfolio.models.networks.SpectralOutput`.
    features : Tensor of shape (..., batch, n_features)
        Hidden features, pooled over tokens.
    log_variance : Tensor of shape (..., batch)
        Of the logit of the intensity; 0 without that head.
    domain : Tensor of shape (..., batch)
        Logit of the target domain; 0 without that head.
    """

    eigenvalue_change: Tensor
    volatility_change: Tensor
    shares: Tensor
    log_scale: Tensor
    features: Tensor
    log_variance: Tensor
    domain: Tensor


def reversed_gradient(x: Tensor) -> Tensor:
    """`x` with a gradient of the opposite sign.

    Examples
    --------
    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> reversed_gradient(x).sum().backward()
    >>> reversed_gradient(x).tolist(), x.grad.tolist()
    ([1.0, 2.0], [-1.0, -1.0])
    """
    return 2.0 * x.detach() - x


class SpectralHeads(nn.Module):
    """A spectral network, and heads on its hidden features.

    Parameters
    ----------
    network : SpectralShrinkageNetwork
        Initialised; trained in place.
    variance : bool
        Add the variance of the intensity.
    domain_units : int
        Hidden width of the domain classifier; 0 adds none.
    generator : torch.Generator
        Draws the weights of the heads.
    """

    members_first = True

    def __init__(
        self, network: SpectralShrinkageNetwork, *, variance: bool, domain_units: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.network = network
        width = network.summary_hidden.out_features * (1 + len(network.spectra))
        self.variance = nn.Linear(width, 1) if variance else None
        self.domain_in = nn.Linear(width, domain_units) if domain_units else None
        self.domain_out = nn.Linear(domain_units, 1) if domain_units else None
        for layer in (self.variance, self.domain_in, self.domain_out):
            if layer is not None:
                bound = layer.in_features**-0.5
                for parameter in layer.parameters():
                    nn.init.uniform_(parameter, -bound, bound, generator=generator)
        if self.variance is not None:  # every window alike at first
            nn.init.zeros_(self.variance.weight)
            nn.init.zeros_(self.variance.bias)

    def forward(self, tokens: Tensor, assets: Tensor, context: Tensor, valid: Tensor, summary: Tensor) -> HeadOutput:
        """Map normalised inputs, as `SpectralShrinkageNetwork` does."""
        output: SpectralOutput = self.network(tokens, assets, context, valid, summary)
        tokens, _, context, summary = self.network.masked(tokens, assets, context, summary)
        features = self._features(tokens, context, valid, summary)
        none = torch.zeros_like(output.log_scale)
        log_variance, domain = none, none
        if self.variance is not None:
            log_variance = self.variance(features)[..., 0]
        if self.domain_in is not None and self.domain_out is not None:
            hidden = nn.functional.gelu(self.domain_in(reversed_gradient(features)))
            domain = self.domain_out(hidden)[..., 0]
        return HeadOutput(**output._asdict(), features=features, log_variance=log_variance, domain=domain)

    def _features(self, tokens: Tensor, context: Tensor, valid: Tensor, summary: Tensor) -> Tensor:
        network = self.network
        act = ACTIVATIONS[network.activation]
        found = [network.summary_features(summary, dropout=False)]
        nets: list[Any] = list(network.spectra)
        for b, net in enumerate(nets):
            x, kept = tokens[..., b, :, :, :], valid[..., b, :, :]
            spread = context[..., b, :, :].unsqueeze(-2).expand(*x.shape[:-1], context.shape[-1])
            y = act(net.token_in(torch.cat([x, spread], dim=-1)))
            y = (y + net.scan(y, kept)) * kept.unsqueeze(-1)
            found.append(y.sum(dim=-2) / kept.sum(dim=-1, keepdim=True))
        return torch.cat(found, dim=-1)  # (..., batch, n_features)
