"""What a job can be told lies in its range."""

import pytest
import yaml

from eigenfolio.config import load_config, load_train_config
from eigenfolio.errors import ParameterError


@pytest.mark.parametrize("load", [load_config, load_train_config])
@pytest.mark.parametrize(
    ("key", "inside", "outside"),
    [("learning_rate", (1e-4, 5e-4, 1e-2), (9e-5, 1.1e-2)), ("batch_size", (16, 32, 128), (15, 129))],
)
def test_learning_rate_and_batch_size_keep_to_the_ranges_of_the_architecture(load, key, inside, outside, tmp_path):
    def told(value):
        (tmp_path / "c.yaml").write_text(yaml.safe_dump({"training": {"loop": {key: value}}}))
        return getattr(load(tmp_path / "c.yaml").training.loop, key)

    assert [told(value) for value in inside] == list(inside)
    for value in outside:
        with pytest.raises(ParameterError, match=rf"'training': loop\.{key} must lie in \[.*\], got [\d.e-]+$"):
            told(value)
