"""What fine-tuning brings on later months of the same panel.

Run as ``python benchmarks/fine_tuning.py FOLDER``; two minutes. The shipped weights as of the end of 2012 are tuned on
each panel up to January 2015 (its last 24 months choose and judge), with three seeds, and compared with the general
ones on windows of 2015-2016 that neither has seen: mean log volatility ratio, unconstrained and capped long-only
averaged, with its standard error over months; negative is better, and zero is what was not kept.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from skfolio.datasets import load_sp500_dataset

from eigenfolio import NeuralShrinkage
from eigenfolio.training.fine_tuning import FineTuningOptions, compare_weights, draw_panel_windows, fine_tune

FILES = {"stocks": "us_equity_adj_close", "funds": "us_etf_adj_close", "core": "us_etf_core_adj_close"}
SIZES = {"embedded": (10, 20), "stocks": (40, 100), "funds": (20, 60), "core": (15, 25)}


def main() -> None:
    """Print one line per panel and seed."""
    folder = Path(sys.argv[1])
    panels = {"embedded": load_sp500_dataset().pct_change().iloc[1:]}
    for name, file in FILES.items():
        prices = pd.read_parquet(folder / f"{file}.parquet").astype(float)
        panels[name] = prices.pct_change(fill_method=None).iloc[1:]
    for name, returns in panels.items():
        options = FineTuningOptions(sizes=SIZES[name])
        for seed in range(3):
            model = NeuralShrinkage()
            found = fine_tune(model, returns.loc[:"2015-01"], options=options, seed=seed)
            general = model.choose_bundle(pd.Timestamp("2012-12-31"))
            assert general is not None
            later = draw_panel_windows(
                returns,
                options,
                400,
                first=pd.Timestamp("2015-02-02"),
                through=pd.Timestamp("2016-12-31"),
                seed=99,
                n_jobs=1,
            )
            difference, error = compare_weights(found.bundle, general, later)
            print(
                f"{name:>9} seed {seed}: judged {100 * found.difference:+.2f} % ({100 * found.standard_error:.2f}), "
                f"{'kept' if found.helped else 'not kept'}; later {100 * difference:+.2f} % ({100 * error:.2f})"
            )


if __name__ == "__main__":
    main()
