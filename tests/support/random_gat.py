"""A graph-attention bundle with random weights: nothing is learned, everything is used."""

import numpy as np
import pandas as pd
import torch

from eigenfolio.models.networks.gat import GraphAttention
from eigenfolio.training.gat import GatTraining, TrainedGat, gat_bundle
from eigenfolio.training.loop import History

SIZES = GatTraining(widths=(8, 4), n_heads=2, readout=8)


def random_gat_bundle(*, through="2014-12-31", graph="mst", seed=0, n_members=1, covariance="LedoitWolf", **options):
    """Members whose last layer is drawn too, so that books differ from equal weights."""
    training = SIZES.model_copy(update=options)
    members = []
    for member in range(n_members):
        torch.manual_seed(100 * seed + member)
        network = GraphAttention(**training.sizes).eval()
        torch.nn.init.normal_(network.readout[-1].weight, std=2.0)
        members.append(TrainedGat(network, History((), 0, 0, 0, (), "patience"), np.nan, 0.0))
    return gat_bundle(
        members, graph=graph, options=training, trained_through=pd.Timestamp(through), covariance=covariance
    )
