"""The documents say nothing that the repository does not hold."""

import re
from pathlib import Path

import pytest

from eigenfolio.config import load_config
from eigenfolio.pipeline.outcome import flatten

ROOT = Path(__file__).parents[1]


def rows() -> list[tuple[str, str]]:
    table = (ROOT / "docs" / "features.md").read_text()
    return re.findall(r"^\| (\d+) \|.*`(tests/\S+)` \|$", table, flags=re.MULTILINE)


def test_every_feature_row_names_a_test():
    table = (ROOT / "docs" / "features.md").read_text()
    assert len(rows()) == len(re.findall(r"^\| \d+ \|", table, flags=re.MULTILINE)) > 40


@pytest.mark.parametrize(("row", "test"), rows())
def test_the_test_of_a_feature_row_exists(row, test):
    path, name = test.split("::")
    assert f"\ndef {name}(" in (ROOT / path).read_text()


def test_every_configuration_key_is_documented_with_its_values():
    table = (ROOT / "docs" / "configuration.md").read_text()
    written = {key: (quick, full) for key, quick, full in re.findall(r"^\| `(\S+)` \| (.*?) \| (.*?) \|", table, re.M)}
    presets = [flatten(load_config(None, preset=preset).model_dump(mode="json")) for preset in ("quick", "full")]
    expected = {key: tuple("-" if p[key] is None else str(p[key]) for p in presets) for key in presets[0]}
    assert written == expected
