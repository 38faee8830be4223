"""What is imported before an answer: checked by name, since a clock would measure the machine."""

import subprocess
import sys

import pytest
import yaml

HEAVY = {"torch", "skfolio", "sklearn", "numba", "plotly", "scipy"}


def imported(folder, *words):
    """Top-level packages that a command has imported when it ends, and what it said."""
    script = (
        "import sys\n"
        "from eigenfolio import cli\n"
        f"sys.argv = ['eigenfolio', *{[str(word) for word in words]!r}]\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print('IMPORTED', *{name.partition('.')[0] for name in sys.modules})\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    said, _, names = done.stdout.partition("IMPORTED")
    return set(names.split()), said + done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "data check missing.csv",
        "data describe missing.csv",
        "run --data missing.csv",
        "train shrinkage --data missing.csv",
        "train hrp --data missing.csv",
        "compare-covariance --data missing.csv",
        "evaluate missing.csv",
        "stress missing.csv",
        "audit module:Model --data missing.csv",
        "monitor latest --data missing.csv",
        "interpret --data missing.csv --out new",
    ],
)
def test_a_panel_that_is_not_there_is_told_before_anything_heavy_is_imported(command, tmp_path):
    names, said = imported(tmp_path, *command.split())
    assert "missing.csv: there is no such file or folder" in said
    assert not names & HEAVY


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("runs list", "holds no run that can be read"),
        ("runs show nothing", "there is no run 'nothing'"),
        ("runs compare nothing latest", "there is no run 'nothing'"),
        ("runs reproduce nothing", "there is no run 'nothing'"),
        ("monitor nothing --data sp500", "there is no run 'nothing'"),
        ("report nothing --format csv --out new", "there is no run 'nothing'"),
        ("run missing.yaml", "configuration missing.yaml cannot be read"),
        ("evaluate sp500 --config missing.yaml", "configuration missing.yaml cannot be read"),
        ("pretrain --data missing", "there is no folder missing"),
    ],
)
def test_runs_and_files_are_looked_for_before_anything_heavy_is_imported(command, words, tmp_path):
    (tmp_path / "runs").mkdir()
    names, said = imported(tmp_path, *command.split())
    assert words in said
    assert not names & HEAVY


def test_a_run_is_listed_without_the_libraries_that_made_it(tmp_path):
    from recorded_runs import fake

    fake(tmp_path, "exp_1")
    names, said = imported(tmp_path, "runs", "list", "--out", tmp_path)
    assert "exp_1" in said
    assert not names & HEAVY


def test_an_unknown_key_of_what_does_not_train_is_told_without_torch(tmp_path):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"evaluation": {"lokback": 63}}))
    names, said = imported(tmp_path, "evaluate", "sp500", "--config", "c.yaml")
    assert "did you mean 'evaluation.lookback'?" in said
    assert "torch" not in names


def test_jobs_that_do_not_train_are_imported_without_torch():
    jobs = ("audit", "compare", "describe", "evaluate", "interpretation", "monitor", "protocols", "records", "stress")
    script = "import sys\n" + "".join(
        f"import eigenfolio.pipeline.{job}\nif 'torch' in sys.modules: sys.exit('{job} imports torch')\n"
        for job in jobs
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_an_estimator_brings_no_more_than_the_contract_it_keeps():
    """Besides skfolio and what compiles its kernels, nothing of ours that it does not call."""
    script = "import sys; from eigenfolio import NeuralShrinkage; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    names = set(done.stdout.split())
    others = ("learned.graph_attention", "models.hierarchical_risk_parity", "features.microstructure", "evaluation")
    assert not {f"eigenfolio.{name}" for name in others} & names
    assert not {"torch", "arch", "statsmodels", "skfolio.optimization"} & names


def test_the_keys_that_commands_are_said_to_read_are_those_they_read():
    from eigenfolio.config import COMMANDS, PRESETS
    from eigenfolio.pipeline import CompareOptions, RunOptions, TrainOptions
    from eigenfolio.pipeline.options import Preset

    options = {"run": RunOptions, "train": TrainOptions, "compare-covariance": CompareOptions}
    assert {name: set(keys) for name, keys in COMMANDS.items()} == {
        name: set(model.model_fields) for name, model in options.items()
    }
    assert set(PRESETS) == set(Preset.__args__)
