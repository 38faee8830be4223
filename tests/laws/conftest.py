"""Gives every law that asks for `any_model` each estimator of `models.ALL_MODELS` in turn."""

import runpy
from pathlib import Path

import pytest

ALL_MODELS = runpy.run_path(str(Path(__file__).with_name("models.py")))["ALL_MODELS"]


@pytest.fixture(params=list(ALL_MODELS))
def any_model(request):
    return ALL_MODELS[request.param]


@pytest.fixture
def all_models():
    return ALL_MODELS
