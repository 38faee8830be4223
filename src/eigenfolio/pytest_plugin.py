"""A pytest fixture that fails a test where a decision depends on what came later.

pytest finds it by its entry point, so that a project that installs eigenfolio can write

    def test_my_model_does_not_look_ahead(no_lookahead):
        no_lookahead(MyModel())

The options of `eigenfolio.evaluation.audit` are arguments of the call, or of the marker for a whole class or module:

    pytestmark = pytest.mark.no_lookahead(dates=8, seed=3)

It stands outside the rooms because pytest imports it at the start of every session: nothing heavy is loaded before the
fixture is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import pandas as pd

    from eigenfolio.evaluation import AuditReport

__all__ = ["no_lookahead", "pytest_configure"]

_ROWS = 756  # of the embedded panel, where the test brings none


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers", "no_lookahead(dates, lag, horizon, seed): options of the fixture no_lookahead for these tests"
    )


@pytest.fixture
def no_lookahead(request: pytest.FixtureRequest) -> Callable[..., AuditReport]:
    """Give a function that audits a target and fails the test on a leak.

    The function takes the target, a panel of simple returns (by default the last three years of the embedded one) and
    the options of `eigenfolio.evaluation.audit`, and returns the report.
    """
    marker = request.node.get_closest_marker("no_lookahead")
    if marker is not None and marker.args:
        raise pytest.UsageError(f"the marker no_lookahead takes options by name, got {marker.args!r}")
    marked = dict(marker.kwargs) if marker is not None else {}

    def check(target: Any, X: pd.DataFrame | None = None, **options: Any) -> AuditReport:
        __tracebackhide__ = True
        from eigenfolio.evaluation.audit import audit

        report = audit(target, _embedded() if X is None else X, **{**marked, **options})
        if not report.clean:
            pytest.fail("\n".join(report.lines()), pytrace=False)
        return report

    return check


def _embedded() -> pd.DataFrame:
    from eigenfolio.data import read_panel

    return read_panel("sp500").returns.iloc[-_ROWS:]
