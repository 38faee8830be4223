"""Time of drawing covariance problems with a known truth: seconds for a sample, by dynamics and for 10,000.

Run as ``python benchmarks/synthetic.py [n_problems] [n_jobs]``; half a minute on two cores with the defaults, 250
problems and every core. One BLAS thread per process. Wall-clock seconds; the CPU seconds of one process beside them
say what a machine that is busy with other work would do when left alone. Workers are started before the clock is.
"""

from __future__ import annotations

import sys
import time
from collections import Counter

from eigenfolio.data.synthetic import PROBLEM_KINDS, covariance_problem, covariance_problems

TOTAL = 10_000
LAWS = sorted({kind.split("-")[1] for kind in PROBLEM_KINDS})


def main(n_problems: int = 250, n_jobs: int = -1) -> None:
    """Print the cost of a middle-sized problem per dynamics, of the sample, and the extrapolation."""
    covariance_problem(0, seed=0, kinds=["factor-copula"])  # imports and tables, not counted
    print(f"{'dynamics':10}  100 x 250   400 x 1008   milliseconds, one problem, one process")
    for law in LAWS:
        cells = []
        for n_assets, n_rows in ((100, 250), (400, 1008)):
            start = time.perf_counter()
            for number in range(3):
                covariance_problem(
                    number,
                    seed=0,
                    n_assets=(n_assets, n_assets),
                    n_observations=(n_rows, n_rows),
                    kinds=[f"factor-{law}"],
                )
            cells.append(1e3 * (time.perf_counter() - start) / 3)
        print(f"{law:10} {cells[0]:10.1f} {cells[1]:12.1f}")
    for jobs in (1, n_jobs):
        list(covariance_problems(32, seed=2, n_assets=(2, 2), n_observations=(9, 9), n_jobs=jobs))
        wall, cpu = time.perf_counter(), time.process_time()
        seen: Counter[str] = Counter()
        for problem in covariance_problems(n_problems, seed=1, n_jobs=jobs):
            seen[problem.kind] += 1
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(f"n_jobs={jobs}: {n_problems} problems of {len(seen)} kinds, n 20-400, rows 60-1008")
        report("wall clock", wall, n_problems)
        if jobs == 1:
            report("CPU", cpu, n_problems)


def report(clock: str, seconds: float, n_problems: int) -> None:
    """Print one line: seconds, milliseconds per problem, minutes for the total."""
    each = seconds / n_problems
    print(f"  {clock:10} {seconds:6.1f} s, {1e3 * each:6.1f} ms each; {TOTAL} in {TOTAL * each / 60:.1f} minutes")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:3]))
