"""Names that a package imports on demand are the same for those who run the code and those who read it."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

ROOMS = ["data", "features", "learned", "models", "pipeline", "training"]
PACKAGES = ["eigenfolio", *(f"eigenfolio.{room}" for room in ROOMS)]


def python(script):
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def names_for_readers(package):
    """Name and home of what a package imports under `TYPE_CHECKING`."""
    (block,) = (node for node in ast.parse(Path(package.__file__).read_text()).body if isinstance(node, ast.If))
    return {alias.name: line.module for line in block.body for alias in line.names}


@pytest.mark.parametrize("name", PACKAGES)
def test_every_name_is_where_the_type_checker_is_told_it_is(name):
    package = importlib.import_module(name)
    told = names_for_readers(package)
    assert set(told) == set(package.__all__) - {"__version__"}
    assert set(told) <= set(dir(package))
    for public, home in told.items():
        assert getattr(package, public) is getattr(importlib.import_module(home), public), public


@pytest.mark.parametrize("name", PACKAGES)
def test_importing_a_package_imports_none_of_its_modules(name):
    script = f"import sys, {name}; print(*(m for m in sys.modules if m.startswith('eigenfolio.')))"
    assert set(python(script)) == {name, "eigenfolio.lazy"} - {"eigenfolio"}


@pytest.mark.parametrize("first", ["import eigenfolio.pipeline.prepare", "from eigenfolio.pipeline import prepare"])
def test_a_function_is_not_taken_for_the_submodule_of_its_name(first):
    script = f"{first}\nfrom eigenfolio import pipeline\nprint(type(pipeline.prepare).__name__)"
    assert python(script) == ["function"]


def test_a_name_that_is_not_there_is_an_attribute_error():
    pipeline = importlib.import_module("eigenfolio.pipeline")
    with pytest.raises(AttributeError, match=r"module 'eigenfolio\.pipeline' has no attribute 'runs'"):
        _ = pipeline.runs
    assert inspect.ismodule(importlib.import_module("eigenfolio.pipeline.records"))  # a submodule still is one


def test_a_module_that_breaks_while_it_is_imported_says_so(tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from eigenfolio.lazy import names_on_demand\n"
        "__getattr__, __dir__ = names_on_demand(__name__, {'.part': ('thing',)})\n"
    )
    (folder / "part.py").write_text("import sys\nsys.no_such_thing\n")
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "try: from broken import thing\n"
        "except ImportError as error: print(str(error).replace(' ', '_'))"
    )
    assert python(script) == ["broken.thing_cannot_be_imported:_module_'sys'_has_no_attribute_'no_such_thing'"]
