"""Order books are books at every snapshot, and their imbalance knows what is stated and no more."""

import numpy as np
import pandas as pd
import pytest

from eigenfolio.data.synthetic import BOOK_COLUMNS, order_book
from eigenfolio.errors import ParameterError


@pytest.fixture(scope="module")
def book():
    return order_book(20_000, information_coefficient=0.2, seed=1)


def columns(side, field):
    return [f"{side}_{field}_{level}" for level in range(1, 11)]


@pytest.mark.parametrize("coefficient", [0.0, 0.2])
@pytest.mark.parametrize("levels", [1, 3, 10])
def test_prices_are_sorted_and_never_crossed_and_sizes_are_positive_lots(coefficient, levels):
    snapshots = order_book(5_000, information_coefficient=coefficient, signal_levels=levels, seed=2).snapshots
    assert list(snapshots.columns) == [*BOOK_COLUMNS, "mid"]
    assert np.isfinite(snapshots.to_numpy()).all()
    assert (snapshots["ask_price_1"] > snapshots["bid_price_1"]).all()
    assert (np.diff(snapshots[columns("ask", "price")], axis=1) > 0).all()
    assert (np.diff(snapshots[columns("bid", "price")], axis=1) < 0).all()
    assert (snapshots[columns("bid", "price")] > 0).to_numpy().all()
    sizes = snapshots[columns("ask", "size") + columns("bid", "size")].to_numpy()
    assert (sizes >= 1).all()
    assert (sizes == np.rint(sizes)).all()


def test_prices_lie_on_the_grid_and_the_mid_between_the_best(book):
    ticks = book.snapshots[columns("ask", "price") + columns("bid", "price")].to_numpy() / book.tick
    np.testing.assert_allclose(ticks, np.rint(ticks), atol=1e-6)
    middle = (book.snapshots["ask_price_1"] + book.snapshots["bid_price_1"]) / 2
    np.testing.assert_allclose(book.snapshots["mid"], middle, rtol=1e-12)


def test_trades_happen_at_the_best_prices_and_take_less_than_is_there(book):
    best = book.snapshots.iloc[book.trades.index]
    buys = (book.trades["side"] == 1).to_numpy()
    assert (book.trades["price"].to_numpy() == np.where(buys, best["ask_price_1"], best["bid_price_1"])).all()
    assert (book.trades["volume"].to_numpy() <= np.where(buys, best["ask_size_1"], best["bid_size_1"])).all()
    assert (book.trades["volume"] >= 1).all()
    assert (book.trades["time"].to_numpy() == best.index.to_numpy()).all()
    assert book.trades.index.is_monotonic_increasing
    assert len(book.trades) == pytest.approx(10_000, rel=0.05)
    assert buys.mean() == pytest.approx(0.5, abs=0.02)


def test_the_book_is_accepted_by_the_strict_reader(book):
    assert book.book.n_levels == 10
    np.testing.assert_allclose(book.book.mid, book.snapshots["mid"])
    assert list(book.trades.columns) == ["time", "price", "volume", "side"]


def test_the_signal_is_the_imbalance_of_the_book(book):
    bid = book.snapshots[columns("bid", "size")[:3]].sum(axis=1)
    ask = book.snapshots[columns("ask", "size")[:3]].sum(axis=1)
    np.testing.assert_allclose(np.tanh(0.4 * book.signal), (bid - ask) / (bid + ask), atol=1e-12)
    assert book.signal.std() == pytest.approx(1, abs=0.03)
    assert book.signal.autocorr() == pytest.approx(0.5, abs=0.03)


def measured(forecast, n_books=20, **options):
    books = [order_book(4_000, seed=seed, **options) for seed in range(n_books)]
    found = pd.DataFrame([vars(book.measured_score(forecast(book))) for book in books])
    return found.drop(columns="majority_rate"), vars(books[0].oracle_score)


@pytest.mark.parametrize(
    "options",
    [
        {"information_coefficient": 0.0},
        {"information_coefficient": 0.1},
        {"information_coefficient": 0.3, "delay": 3, "move_probability": 0.7, "persistence": 0.0, "signal_levels": 1},
        {"information_coefficient": 0.5, "move_probability": 0.2, "persistence": 0.9},
    ],
)
def test_measured_scores_equal_the_stated_ones_within_three_standard_errors(options):
    found, stated = measured(lambda book: book.signal, **options)
    errors = (found - pd.Series(stated)).mean() / (found.std() / np.sqrt(len(found)))
    assert (errors.drop("majority_rate").abs() < 3).all(), errors


def test_the_accuracy_is_the_integral_over_the_normal_worked_by_simulation():
    score = order_book(10, information_coefficient=0.3, move_probability=0.5).oracle_score
    rng = np.random.default_rng(0)
    theta = 0.6744897501960817
    rho = 0.3 * np.sqrt(0.5) / (2 * np.exp(-(theta**2) / 2) / np.sqrt(2 * np.pi))
    x = rng.standard_normal(2_000_000)
    y = rho * x + np.sqrt(1 - rho**2) * rng.standard_normal(2_000_000)
    moved = np.abs(y) > theta
    assert score.directional_accuracy == pytest.approx(np.mean((x > 0)[moved] == (y > 0)[moved]), abs=0.002)


def test_a_null_book_says_nothing_with_any_of_its_columns():
    """Sizes of every level, the spread and the trades against the next move."""

    def statistics(seed):
        book = order_book(4_000, seed=seed)
        signed = book.trades["side"] * book.trades["volume"]
        table = book.snapshots[columns("bid", "size") + columns("ask", "size")].assign(
            spread=book.snapshots["ask_price_1"] - book.snapshots["bid_price_1"],
            flow=np.bincount(book.trades.index, signed, minlength=len(book.snapshots)),
            past=book.moves.shift(1),
        )
        return table.corrwith(book.moves)

    found = pd.DataFrame([statistics(seed) for seed in range(20)])
    errors = found.mean() / (found.std() / np.sqrt(20))
    assert (errors.abs() < 4).all(), errors  # 23 columns at once


def test_levels_beyond_the_signal_say_nothing_of_a_planted_book(book):
    deep = book.snapshots[columns("bid", "size")[3:]].sum(axis=1) - book.snapshots[columns("ask", "size")[3:]].sum(
        axis=1
    )
    assert abs(book.measured_score(deep).information_coefficient) < 4 / np.sqrt(20_000)


@pytest.mark.parametrize("delay", [1, 2, 5])
def test_the_signal_predicts_the_move_that_ends_delay_snapshots_later(delay):
    book = order_book(20_000, information_coefficient=0.3, delay=delay, persistence=0.0, seed=3)
    step = (book.snapshots["mid"].diff() / book.tick).round().to_numpy()
    found = {ahead: np.corrcoef(book.signal.to_numpy()[: -ahead or None], step[ahead:])[0, 1] for ahead in range(1, 7)}
    assert found.pop(delay) == pytest.approx(0.3, abs=0.03)
    assert max(map(abs, found.values())) < 0.04
    assert book.moves.isna().sum() == delay


def test_null_and_planted_books_of_one_seed_have_the_same_sizes():
    null, planted = (order_book(500, information_coefficient=ic, seed=4) for ic in (0.0, 0.3))
    sizes = columns("bid", "size") + columns("ask", "size")
    assert null.snapshots[sizes].equals(planted.snapshots[sizes])
    assert (null.kind, planted.kind) == ("null", "imbalance")


def test_the_same_seed_gives_the_same_bits():
    first, again, other = (order_book(300, information_coefficient=0.1, seed=seed).fingerprint for seed in (1, 1, 2))
    assert first == again != other


def test_every_snapshot_has_its_time():
    index = order_book(5, seconds=0.5, start="2020-01-02 10:00").snapshots.index
    assert index[0] == pd.Timestamp("2020-01-02 10:00")
    assert index[1] - index[0] == pd.Timedelta("500ms")


@pytest.mark.parametrize(
    "options",
    [
        {"information_coefficient": 0.9},
        {"information_coefficient": -0.1},
        {"move_probability": 1.0},
        {"delay": 0},
        {"delay": 100},
        {"signal_levels": 11},
        {"persistence": 1.0},
        {"tick": 0.0},
        {"first_mid": 0.05},
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ParameterError):
        order_book(100, **options)
