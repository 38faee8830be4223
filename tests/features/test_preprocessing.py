"""Preprocessing learns from the past only, refuses foreign columns, and survives a trip through plain arrays."""

import json

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from scipy.stats import norm
from sklearn.utils.estimator_checks import check_estimator

from eigenfolio.errors import ArtifactError, DataError, LookaheadError, ParameterError
from eigenfolio.features.preprocessing import (
    PreprocessingOptions,
    PreprocessingState,
    feature_pipeline,
    pipeline_from_state,
    preprocessing_state,
)
from eigenfolio.features.transformers import (
    Clamp,
    Compressor,
    CovarianceProjection,
    CSMedianImputer,
    ExpandingRank,
    ExpandingScaler,
    FittedRank,
    ForwardFill,
    ImportanceSelector,
    KnownFeatures,
    MissingColumns,
    Winsoriser,
    upper_triangles,
)

OPTIONS = {
    "default": PreprocessingOptions(),
    "standard": PreprocessingOptions(scaling="standard", winsor=0.05, clamp=None, indicators="all"),
    "expanding": PreprocessingOptions(scaling="expanding", min_rows=5),
    "expanding_rank": PreprocessingOptions(scaling="expanding_rank", clamp=None, indicators="none"),
    "rank": PreprocessingOptions(scaling="rank", fill_limit=0),
    "normal_rank": PreprocessingOptions(scaling="normal_rank", clamp=3.0),
    "none": PreprocessingOptions(scaling="none", clamp=None, impute=False),
    "pca": PreprocessingOptions(compress="pca", n_components=3),
    "random": PreprocessingOptions(compress="random", n_components=3, seed=7),
    "selected": PreprocessingOptions(select=3),
    "forest": PreprocessingOptions(select=3, selection="forest", indicators="none"),
}


def table(n_rows=120, *, seed=0, start="2015-01-02") -> pd.DataFrame:
    """Six features: two plain, fat tails, gaps, one constant and one that is never known."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n_rows, 6))
    values[:, 1] = 1e4 + np.exp(3 * values[:, 1])
    values[rng.random(n_rows) < 0.3, 2] = np.nan
    values[:10, 3] = np.nan
    values[:, 4] = 2.5
    values[:, 5] = np.nan
    return pd.DataFrame(values, index=pd.bdate_range(start, periods=n_rows), columns=list("abcdef"))


def fitted(options, past):
    return feature_pipeline(options).fit(past, past["a"].to_numpy() - past["b"].rank().to_numpy() / 50)


def same_bits(first, second):
    assert_frame_equal(first, second, check_exact=True, check_freq=False)


@pytest.fixture(params=list(OPTIONS))
def options(request):
    return OPTIONS[request.param]


def test_what_comes_later_changes_no_bit(options):
    X = table()
    past, future = X[:80], X[80:]
    pipeline = fitted(options, past)
    whole = pipeline.transform(future)
    for t in (1, 7, 30):
        same_bits(pipeline.transform(future[:t]), whole[:t])
    poisoned = future.copy()
    poisoned.iloc[20:] = 1e6
    same_bits(pipeline.transform(poisoned)[:20], whole[:20])


def test_a_pipeline_and_its_state_give_the_same_bits(options):
    X = table()
    pipeline = fitted(options, X[:80])
    state = preprocessing_state(pipeline, options)
    text = json.dumps(state.to_json())
    loose = {name: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape) for name, a in state.arrays.items()}
    copy = pipeline_from_state(PreprocessingState.from_json(text, loose))
    same_bits(copy.transform(X[80:]), pipeline.transform(X[80:]))
    assert state.feature_names == tuple("abcdef")
    assert state.output_names == tuple(pipeline.transform(X[80:]).columns)
    assert json.loads(text)["options"]["scaling"] == options.scaling


def test_the_state_holds_only_numbers_that_safetensors_can_keep(options, tmp_path):
    from safetensors.numpy import load_file, save_file

    X = table()
    state = preprocessing_state(fitted(options, X[:80]), options)
    save_file({name: np.asarray(a, order="C") for name, a in state.arrays.items()}, tmp_path / "a.safetensors")
    again = PreprocessingState.from_json(state.to_json(), load_file(tmp_path / "a.safetensors"))
    same_bits(pipeline_from_state(again).transform(X[80:]), pipeline_from_state(state).transform(X[80:]))


def test_the_same_seed_gives_the_same_bits(options):
    X = table()
    same_bits(fitted(options, X[:80]).transform(X[80:]), fitted(options, X[:80]).transform(X[80:]))


def test_everything_is_finite_float_after_imputing_and_dates_are_kept():
    X = table()
    out = feature_pipeline().fit(X[:80]).transform(X[80:])
    assert np.isfinite(out.to_numpy()).all()
    assert set(out.dtypes) == {np.dtype(float)}
    assert out.index.equals(X.index[80:])
    assert (out["e"] == 0).all()
    assert (out["f"] == 0).all()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (list("bacdef"), "feature 1 must be a, got b: the same features in another order"),
        (list("abxdef"), "feature 3 must be c, got x: renamed"),
        (list("abdef"), "feature c is missing"),
        (list("abcdefg"), "feature g was not fitted"),
        (list("abcdee"), "feature e is named twice"),
        (["a", "b", "c", "d", "e", 5], "feature names must be text, got 5"),
    ],
)
def test_foreign_columns_are_refused_by_the_name_of_the_first(columns, message):
    X = table()
    pipeline = feature_pipeline().fit(X)
    later = table(3, start="2016-01-04").reindex(columns=list("abcdefg"), fill_value=1.0).iloc[:, : len(columns)]
    later.columns = columns
    with pytest.raises(DataError, match=message):
        pipeline.transform(later)
    copy = pipeline_from_state(preprocessing_state(pipeline, PreprocessingOptions()))
    with pytest.raises(DataError, match=message):
        copy.transform(later)


def test_arrays_text_and_infinities_are_refused():
    X = table()
    for bad, message in [
        (X.to_numpy(), "must be a DataFrame"),
        (X.assign(a="x"), "must be numbers"),
        (X.assign(b=np.inf), "feature b is infinite at 2015-01-02"),
        (X[:0], "at least one row"),
    ]:
        with pytest.raises(DataError, match=message):
            feature_pipeline().fit(bad)


def test_expanding_scores_by_hand_and_by_a_naive_twin():
    x = table()[["a", "c", "d"]]
    scaled = ExpandingScaler(min_rows=5).set_output(transform="pandas").fit_transform(x)
    for name in x:
        for t in range(len(x)):
            seen = x[name].iloc[: t + 1].dropna()
            if np.isnan(x[name].iloc[t]) or len(seen) < 5:
                assert np.isnan(scaled[name].iloc[t])
            else:
                assert scaled[name].iloc[t] == pytest.approx((seen.iloc[-1] - seen.mean()) / seen.std(ddof=0))
    assert ExpandingScaler(min_rows=1).fit_transform([[3.0], [3.0], [5.0]]).ravel() == pytest.approx([0, 0, 2**0.5])


def test_expanding_ranks_by_a_naive_twin():
    x = table()[["a", "c"]].round(1)
    places = ExpandingRank(min_rows=3).fit_transform(x)
    for j, name in enumerate(x):
        for t in range(len(x)):
            seen = x[name].iloc[: t + 1].dropna()
            now = x[name].iloc[t]
            if np.isnan(now) or len(seen) < 3:
                assert np.isnan(places[t, j])
            else:
                assert places[t, j] == ((seen < now).sum() + 0.5 * (seen == now).sum()) / len(seen)
    normal = ExpandingRank(min_rows=3, normal=True).fit_transform(x)
    np.testing.assert_allclose(normal, norm.ppf(places))


@pytest.mark.parametrize("running", [ExpandingScaler(min_rows=4), ExpandingRank(min_rows=4), ForwardFill(limit=2)])
def test_later_rows_go_on_from_the_fitted_ones_to_the_bit(running):
    X = table()
    whole = running.fit_transform(X)
    running.fit(X[:50])
    np.testing.assert_array_equal(running.transform(X[50:]), whole[50:])
    np.testing.assert_array_equal(running.transform(X[50:]), whole[50:])  # and the state stayed
    running.partial_fit(X[50:90])
    np.testing.assert_array_equal(running.transform(X[90:]), whole[90:])


@pytest.mark.parametrize("running", [ExpandingScaler(), ExpandingRank()])
def test_rows_that_do_not_follow_the_fitted_ones_are_refused(running):
    X = table()
    running.fit(X[:50])
    with pytest.raises(LookaheadError, match=r"later than the last one .* was fitted on .2015-03-12., got 2015-03-06"):
        running.transform(X[45:60])
    with pytest.raises(LookaheadError, match="use fit_transform"):
        running.partial_fit(X[:60])
    with pytest.raises(DataError, match="in the order of their dates"):
        running.fit(X[::-1])


def test_a_fill_carries_five_rows_never_backward_and_not_into_the_fitted_rows():
    x = pd.DataFrame({"x": [np.nan, 1.0, *[np.nan] * 7]}, index=pd.bdate_range("2020-01-01", periods=9))
    fill = ForwardFill().fit(x)
    np.testing.assert_array_equal(fill.transform(x).ravel(), [np.nan, *[1.0] * 6, np.nan, np.nan])
    fill.fit(x[:4])
    np.testing.assert_array_equal(fill.transform(x[4:]).ravel(), [1.0, 1.0, 1.0, np.nan, np.nan])
    fill.fit(x.assign(x=9.0))
    assert np.isnan(fill.transform(x)[0, 0])  # the same rows again: not filled from the later ones


def test_robust_scaling_is_median_and_interquartile_range():
    x = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0, 100.0, np.nan]})
    out = feature_pipeline(PreprocessingOptions(fill_limit=0)).fit_transform(x)
    assert out["x"].tolist() == [-1.0, -0.5, 0.0, 0.5, 5.0, 0.0]  # clamped, and the gap at the median
    assert out["missing_x"].tolist() == [0, 0, 0, 0, 0, 1]


def test_ranks_are_shares_of_the_fitted_values():
    x = pd.DataFrame({"x": np.exp(np.arange(101.0))})
    out = feature_pipeline(PreprocessingOptions(scaling="rank", clamp=None)).fit(x).transform(x)
    np.testing.assert_allclose(out["x"], np.arange(101) / 100, atol=1e-12)


def test_indicators_name_the_features_missing_in_the_fitted_rows():
    X = table()
    past, later = X[:80], X[80:].assign(a=np.nan)
    names = [n for n in feature_pipeline().fit(past).transform(later) if n.startswith("missing")]
    assert names == ["missing_c", "missing_d"]
    out = feature_pipeline(PreprocessingOptions(indicators="all")).fit(past).transform(later)
    assert [n for n in out if n.startswith("missing")] == [f"missing_{name}" for name in "abcdef"]
    assert (out["missing_a"] == 1).all()
    assert out["missing_c"].tolist() == later["c"].isna().astype(float).tolist()


def test_a_table_without_gaps_has_no_indicator():
    x = table()[["a", "b"]]
    options = PreprocessingOptions()
    pipeline = feature_pipeline(options).fit(x)
    assert list(pipeline.transform(x).columns) == ["a", "b"]
    same_bits(pipeline_from_state(preprocessing_state(pipeline, options)).transform(x), pipeline.transform(x))


def test_principal_components_are_those_of_the_scaled_values():
    rng = np.random.default_rng(0)
    x = pd.DataFrame(rng.standard_normal((300, 2)) @ rng.standard_normal((2, 5)), columns=list("abcde"))
    options = PreprocessingOptions(compress="pca", n_components=2, clamp=None)
    out = feature_pipeline(options).fit(x).transform(x)
    scaled = feature_pipeline(PreprocessingOptions(clamp=None)).fit(x).transform(x)
    assert out.shape == (300, 2)
    assert out.to_numpy().var(axis=0).sum() == pytest.approx(scaled.to_numpy().var(axis=0).sum())  # rank 2: all is kept


def test_random_projection_keeps_the_distances_of_covariances():
    rng = np.random.default_rng(3)
    factors = rng.standard_normal((12, 30, 60))
    stack = factors @ factors.transpose(0, 2, 1) / 60
    vectors = upper_triangles(stack)
    np.testing.assert_allclose(np.linalg.norm(vectors[0] - vectors[1]), np.linalg.norm(stack[0] - stack[1]))
    for sparse in (False, True):
        small = CovarianceProjection(n_components=200, sparse=sparse).fit_transform(stack)
        pairs = np.triu_indices(12, k=1)
        before = np.linalg.norm(vectors[pairs[0]] - vectors[pairs[1]], axis=1)
        after = np.linalg.norm(small[pairs[0]] - small[pairs[1]], axis=1)
        assert np.abs(after / before - 1).max() < 0.3
    projection = CovarianceProjection(n_components=4).fit(stack[:1])
    np.testing.assert_array_equal(
        projection.transform(stack), CovarianceProjection(n_components=4).fit(stack[5:]).transform(stack)
    )
    with pytest.raises(DataError, match="of 30 assets as fitted, got 29"):
        projection.transform(stack[:, :29, :29])
    for bad in (stack[0], stack[:, :29], np.triu(stack), stack * np.nan):
        with pytest.raises(DataError, match="matrices must"):
            upper_triangles(bad)
    with pytest.raises(ParameterError, match=r"n_components must lie in 1\.\.3"):
        CovarianceProjection(n_components=4).fit(np.eye(2)[None])


@pytest.mark.parametrize("method", ["permutation", "forest"])
def test_importance_finds_the_planted_features(method):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.standard_normal((400, 10)), columns=list("abcdefghij"))
    y = X["c"] - 2 * X["h"] + 0.5 * rng.standard_normal(400)
    selector = ImportanceSelector(n_features=2, method=method).set_output(transform="pandas").fit(X, y)
    assert list(selector.transform(X).columns) == ["c", "h"]


def test_medians_of_the_date_fill_listed_assets_only():
    X = np.array([[1.0, np.nan, 3.0, 8.0, np.nan], [np.nan] * 5])
    listed = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    out = CSMedianImputer().fit_transform(X, cs_weights=listed)
    np.testing.assert_array_equal(out, [[1, 2, 3, 8, np.nan], [np.nan] * 5])
    groups = np.tile([0, 0, 1, 1, 2], (2, 1))
    np.testing.assert_array_equal(CSMedianImputer().fit_transform(X, cs_groups=groups)[0], [1, 1, 3, 8, 3])
    with pytest.raises(DataError, match="cs_groups must have the shape"):
        CSMedianImputer().fit_transform(X, cs_groups=groups[:1])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"compress": "pca"}, "n_components"),
        ({"n_components": 3}, "n_components"),
        ({"selection": "forest"}, "select"),
        ({"min_rows": 5}, "expanding"),
        ({"select": 3, "impute": False}, "gaps"),
        ({"scalin": "robust"}, "scalin"),
    ],
)
def test_options_that_nothing_would_read_are_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        PreprocessingOptions(**keys)


def test_a_foreign_or_damaged_state_is_refused():
    options = PreprocessingOptions()
    pipeline = feature_pipeline(options).fit(table())
    state = preprocessing_state(pipeline, options)
    with pytest.raises(ParameterError, match="not made from these options"):
        preprocessing_state(pipeline, PreprocessingOptions(clamp=2.0))
    with pytest.raises(ArtifactError, match="format 'x'"):
        PreprocessingState.from_json({**state.to_json(), "format": "x"}, state.arrays)
    with pytest.raises(ArtifactError, match=r"array scale.center_ must be"):
        PreprocessingState.from_json(state.to_json(), {**state.arrays, "scale.center_": np.zeros(2)})
    with pytest.raises(ArtifactError, match="does not fit its options"):
        pipeline_from_state(PreprocessingState(options, state.names, {}))
    with pytest.raises(ArtifactError, match="cannot be read"):
        PreprocessingState.from_json({**state.to_json(), "options": {"scaling": "odd"}}, state.arrays)


def test_bad_parameters_are_named():
    X = [[1.0], [2.0]]
    for step, message in [
        (ForwardFill(limit=-1), "limit"),
        (ExpandingScaler(min_rows=0), "min_rows"),
        (Winsoriser(share=0.5), "share"),
        (Clamp(limit=0.0), "limit"),
        (ImportanceSelector(method="luck"), "method must be"),
        (ImportanceSelector(n_features=0), "n_features"),
        (ImportanceSelector(), "requires y"),
    ]:
        with pytest.raises(ParameterError, match=message):
            step.fit(X)


@pytest.mark.parametrize(
    "step",
    [
        Winsoriser(),
        Clamp(),
        FittedRank(),
        MissingColumns(always=True),
        Compressor(n_components=1),
        ForwardFill(),
        ImportanceSelector(n_features=2),
    ],
)
def test_transformers_pass_the_checks_of_scikit_learn(step):
    expected = {
        "check_transformer_general": "rows given to transform follow those given to fit",
        "check_transformer_data_not_an_array": "rows given to transform follow those given to fit",
    }
    check_estimator(step, expected_failed_checks=expected if isinstance(step, ForwardFill) else None, on_skip=None)


def test_known_features_are_an_estimator_of_tables():
    X = table()
    known = KnownFeatures().fit(X)
    assert known.get_feature_names_out().tolist() == list("abcdef")
    assert (known.transform(X)[:, 5] == 0).all()
