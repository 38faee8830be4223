"""Attention maps are the weights that the network mixes its values with."""

import numpy as np
import pytest
import torch
from random_attention import random_attention_bundle, torch_member

from eigenfolio.learned.attention import AttentionForward, _regime_span
from eigenfolio.learned.attention_maps import attention_maps
from eigenfolio.learned.tokens import FAMILIES, describe_tokens
from eigenfolio.models.window import prepare_window


@pytest.fixture(scope="module")
def window():
    X = 0.01 * np.random.default_rng(0).standard_normal((200, 6))
    return describe_tokens(prepare_window(X))


def test_rows_sum_to_one_and_tokens_are_named(window):
    maps = attention_maps(random_attention_bundle(n_members=2), window)
    n_tokens = 6 + len(FAMILIES)
    assert maps.weights.shape[0] == 2
    assert maps.weights.shape[2:] == (n_tokens, n_tokens)
    np.testing.assert_allclose(maps.weights.sum(axis=-1), 1.0)
    assert maps.tokens[0] == "eigenvalue 1"
    assert maps.tokens[6:] == tuple(FAMILIES)
    assert sum(maps.received.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("embedding", [True, False])
def test_the_maps_mix_the_values_as_the_network_does(window, embedding):
    """The slow twin joins map and values head by head in torch, and finds what the forward pass attends to."""
    bundle = random_attention_bundle(seed=3, regime_embedding=embedding)
    maps, forward, network = attention_maps(bundle, window), AttentionForward(bundle), torch_member(bundle)
    h, numbers = forward._extracted(window)
    regime = numbers[..., _regime_span()]
    attention = network.attention
    with torch.no_grad():
        x = torch.from_numpy(h[0])
        known = x
        if embedding:
            known = x + torch.softmax(attention.regime_in(torch.from_numpy(regime[0])), -1) @ attention.regimes
        values = attention.value(known).reshape(len(x), maps.weights.shape[1], -1)
        parts = [torch.from_numpy(maps.weights[0, i]) @ values[:, i] for i in range(maps.weights.shape[1])]
        mixed = x + attention.out(torch.cat(parts, dim=1))
    np.testing.assert_allclose(forward._attended(h, regime)[0], mixed.numpy(), atol=1e-10)
