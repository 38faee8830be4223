"""The documents say nothing that the repository does not hold."""

import re
from pathlib import Path

import pytest

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
