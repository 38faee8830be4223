"""The fixture `no_lookahead` in another project's tests."""

import pytest

import eigenfolio.evaluation  # noqa: F401  loaded before pytester starts to keep its own account of modules

pytest_plugins = ["pytester"]

PANEL = """
import numpy as np, pandas as pd, pytest
index = pd.bdate_range("2020-01-01", periods=200)
X = pd.DataFrame(np.random.default_rng(0).normal(0, 0.01, (200, 3)), index=index, columns=list("ABC"))
"""


def outcome(pytester, code):
    pytester.makepyfile(PANEL + code)
    return pytester.runpytest_inprocess("-p", "eigenfolio.pytest_plugin", "-p", "no:xdist", "--strict-markers")


def test_an_honest_target_passes_and_a_leak_fails_with_its_evidence(pytester):
    done = outcome(
        pytester,
        """
def test_trailing(no_lookahead):
    assert no_lookahead(lambda X: X.rolling(5).mean(), X).clean

def test_centred(no_lookahead):
    no_lookahead(lambda X: X.rolling(5, center=True).mean(), X, name="centred")
""",
    )
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["*centred: LOOK-AHEAD, found by truncation*", "*future flipped*leak*"])


def test_the_marker_sets_options_and_the_call_overrules_them(pytester):
    done = outcome(
        pytester,
        """
@pytest.mark.no_lookahead(dates=2)
def test_marked(no_lookahead):
    assert len(no_lookahead(lambda X: X.rolling(5).mean(), X).dates) == 2
    assert len(no_lookahead(lambda X: X.rolling(5).mean(), X, dates=3).dates) == 3
""",
    )
    done.assert_outcomes(passed=1)


def test_options_of_the_marker_are_named(pytester):
    done = outcome(
        pytester,
        """
@pytest.mark.no_lookahead(2)
def test_marked(no_lookahead):
    pass
""",
    )
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*takes options by name, got (2,)*"])


def test_without_a_panel_the_embedded_one_is_used(no_lookahead):
    report = no_lookahead(lambda X: X.ewm(halflife=10).mean(), dates=1)
    assert report.dates[0].year >= 2020


@pytest.fixture
def no_lookahead(request):
    """The plugin's own, since its entry point is there only where the package was installed with it."""
    from eigenfolio.pytest_plugin import no_lookahead

    return no_lookahead.__wrapped__(request)
