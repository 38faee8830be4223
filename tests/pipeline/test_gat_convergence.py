"""How the training of graph-attention networks is judged, from the sweep and from its record."""

import json

import pandas as pd
import pytest
import yaml

from eigenfolio.artifacts import RunRecord, write_run
from eigenfolio.errors import ArtifactError
from eigenfolio.pipeline.gat_convergence import gat_convergence, mean_gat_losses, recorded_gat_logs
from eigenfolio.pipeline.research_report import recorded_content


def epochs(member, *losses):
    return [
        {"graph": "mst", "through": "2012-12-31", "member": member, "epoch": k, "train": {"total": v},
         "validation": {"total": v}}
        for k, v in enumerate(losses)
    ]  # fmt: skip


def member(best, stopped="patience", alarms=()):
    return {"graph": "mst", "through": "2012-12-31", "best_epoch": best, "stopped": stopped, "alarms": list(alarms)}


def log(members, rows):
    return {"graph": "mst", "through": "2012-12-31", "members": members, "epochs": rows}


def test_seeds_of_one_graph_are_judged_together_with_their_alarms():
    rows = epochs(0, 1.0, 0.6, 0.5, 0.5) + epochs(1, 1.0, 0.7, 0.52, 0.52)
    [found] = gat_convergence([log([member(2), member(2, alarms=["equal weights"])], rows)]).to_dict("records")
    assert found["bundle"] == "mst 2012-12-31"
    assert (found["members"], found["verdict"]) == ("2", "converged")
    assert found["seed_spread"].startswith("2 seeds: 2.9 %")
    assert found["alarms"] == "equal weights (1 of 2)"


def test_a_network_that_never_left_its_start_did_not_learn():
    [found] = gat_convergence([log([member(0)], epochs(0, 0.5, 0.6, 0.7))]).to_dict("records")
    assert found["verdict"] == "did not learn: the start was best"


def test_losses_are_the_mean_of_those_that_still_train():
    found = mean_gat_losses([log([member(1), member(2)], epochs(0, 1.0, 0.5) + epochs(1, 0.8, 0.7, 0.3))])
    assert found["mst"]["train"].tolist() == pytest.approx([0.9, 0.6, 0.3])


def test_a_record_tells_what_the_sweep_told(tmp_path):
    rows = epochs(0, 1.0, 0.6, 0.5, 0.5)
    (tmp_path / "training.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "results.yaml").write_text(yaml.safe_dump({"training": [member(2, "max_epochs", ["flat"])]}))
    [found] = gat_convergence(recorded_gat_logs(tmp_path)).to_dict("records")
    assert (found["verdict"], found["alarms"]) == ("converged", "flat")
    (tmp_path / "training.jsonl").write_text("{broken")
    with pytest.raises(ArtifactError, match="changed or truncated"):
        recorded_gat_logs(tmp_path)


def test_a_report_of_a_recorded_sweep_holds_its_convergence_and_its_best_graph(tmp_path):
    row = dict.fromkeys(
        ("annualized_return", "annualized_volatility", "sharpe_ratio", "sortino_ratio", "max_drawdown", "turnover",
         "gross_exposure", "annualized_cost"), 0.1,
    )  # fmt: skip
    metrics = {"ranking": {"order": ["mst"]}, "performance": [{"model": "gat_mst", "n_failures": 0, **row}]}
    record = RunRecord(
        identifier="gat", kind="train-gat", started="2024-05-01T09:30:00", command="eigenfolio train gat", seed=1,
        git_commit=None, versions={}, data_fingerprint="none", config={}, status="complete", metrics=metrics,
        trials=[{"kind": "evaluation", "model": "gat_mst", "book": "own"}], budgets=[],
    )  # fmt: skip

    def contents(place):
        rows = epochs(0, 1.0, 0.6, 0.5, 0.5)
        (place / "training.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (place / "results.yaml").write_text(yaml.safe_dump({"training": [member(2)]}))
        days = pd.bdate_range("2013-01-01", periods=40)
        pd.DataFrame({"gat_mst | own": 0.001}, index=days).to_parquet(place / "returns.parquet")

    content = recorded_content(write_run(record, tmp_path / "gat", contents=contents))
    assert content.learned_model == "gat_mst"
    assert content.convergence["verdict"].tolist() == ["converged"]
    assert content.loss_history["mst"]["validation"].tolist() == pytest.approx([1.0, 0.6, 0.5, 0.5])
    assert content.performance["book"].tolist() == ["own"]
