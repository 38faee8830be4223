"""Time and memory of the rolling feature table, by family and as a whole.

Run as ``python benchmarks/features.py [FOLDER]``; about a minute. FOLDER (default: the variable EIGENFOLIO_DATA) holds
the 993 x 5,284 panel of US stocks with volume, highs, lows, sectors and the VIX; without it a synthetic panel of the
same size stands in. Monthly rows, 252-row windows, one BLAS thread per process. To hold: the whole table in under 180 s
on 2 cores and under 4 GB, all processes together.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from eigenfolio.data import plan_decisions
from eigenfolio.data.synthetic import factor_market
from eigenfolio.features.table import FAMILIES, feature_table
from eigenfolio.panel import Panel

LOOKBACK = 252


def real_panel(folder: Path) -> Panel:
    """The panel of US stocks with everything that is known about it."""

    def read(name: str) -> pd.DataFrame:
        return pd.read_parquet(folder / f"{name}.parquet")

    return Panel.from_prices(
        read("us_equity_adj_close"),
        volume=read("us_equity_volume"),
        high=read("us_equity_top500_high"),
        low=read("us_equity_top500_low"),
        market=read("vix_daily")[["close"]].set_axis(["vix"], axis=1),
        sectors=read("us_equity_sectors").set_index("ticker")["sector"],
        source=folder.name,
    )


class PeakMemory:
    """Largest memory of this process and its children while a block runs, in GB; shared pages count once (PSS)."""

    def __enter__(self) -> PeakMemory:
        self.gigabytes, self._running = 0.0, True
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._running = False
        self._thread.join()

    def _watch(self) -> None:
        while self._running:
            self.gigabytes = max(self.gigabytes, sum(map(_proportional_bytes, _family(os.getpid()))) / 1e9)
            time.sleep(0.2)


def _family(parent: int) -> list[int]:
    """A process and all that descend from it."""
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    except OSError:
        return [parent]
    return [parent, *(pid for child in children for pid in _family(int(child)))]


def _proportional_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has just ended
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def main(folder: str | None) -> None:
    """Print seconds by family in one process, then the whole table on 1 and on 2."""
    if folder is None:
        panel = factor_market(993, 5283, seed=0, late_listings=0.3, gaps=0.001).panel
    else:
        panel = real_panel(Path(folder))
    rows = [decision.row for decision in plan_decisions(panel.index, min_history=LOOKBACK)]
    print(f"{panel}; {len(rows)} monthly rows, windows of {LOOKBACK}")
    feature_table(panel, rows[:1])  # compiles, or loads what was compiled
    whole = {}
    print(f"{'':14}{'features':>10}{'missing':>10}{'CPU s':>10}{'wall s':>10}")
    for family, names in FAMILIES.items():
        cpu, wall = time.process_time(), time.perf_counter()
        values = feature_table(panel, rows, families=[family]).values
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        print(f"{family:14}{len(names):>10}{values.isna().to_numpy().mean():>10.1%}{cpu:>10.1f}{wall:>10.1f}")
    for n_jobs in (1, 2):
        with PeakMemory() as peak:
            wall = time.perf_counter()
            whole[n_jobs] = feature_table(panel, rows, n_jobs=n_jobs).values.to_numpy()
            wall = time.perf_counter() - wall
        print(f"all families, {n_jobs} process{'es' * (n_jobs > 1)}: {wall:.1f} s, peak {peak.gigabytes:.2f} GB")
    print(f"same bits: {np.array_equal(whole[1].view(np.int64), whole[2].view(np.int64))}")


if __name__ == "__main__":
    with threadpool_limits(limits=1):
        main(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("EIGENFOLIO_DATA"))
