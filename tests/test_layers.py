"""Imports point one way (architecture, section 2), and modules that must be light are."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ulmfit_ray"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))
}
ROOMS = ("text", "data", "training", "encoding", "retrieval")
HEAVY = ("ray", "pyarrow", "spacy", "tyro", "safetensors", "smart_open")
FORBIDDEN = {
    "text": ("torch", "ray", "smart_open", "safetensors", "tyro"),
    "data": ("torch", "ray", "spacy", "safetensors", "tyro"),
    "model": ("ray", "pyarrow", "spacy", "tyro", "smart_open"),
    "training": HEAVY,
    "encoding": HEAVY,
    "retrieval": ("ray", "torch", "spacy", "safetensors", "tyro", "smart_open"),
    "document_encoder": ("ray", "tyro", "smart_open"),
    "config": ("ray", "torch", "spacy"),
    "cli": ("ray", "torch", "spacy"),
}


def imports_of(nodes: list[ast.stmt]) -> set[str]:
    found = set()
    for node in nodes:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Import):
                found |= {alias.name for alias in inner.names}
            elif isinstance(inner, ast.ImportFrom):
                assert inner.level == 0, "relative imports hide where they point"
                found |= {inner.module or ""} | {f"{inner.module}.{alias.name}" for alias in inner.names}
    return found


def imports(module: str) -> set[str]:
    """Return what a module imports anywhere, inside functions too."""
    return imports_of(ast.parse(MODULES[module].read_text(encoding="utf-8")).body)


def imports_at_import(module: str) -> set[str]:
    """Return what a module imports when it is imported itself."""
    body = ast.parse(MODULES[module].read_text(encoding="utf-8")).body
    return imports_of([node for node in body if not isinstance(node, ast.FunctionDef | ast.ClassDef)])


def reaches(found: set[str], *names: str) -> set[str]:
    return {name for name in found if any(name == target or name.startswith(f"{target}.") for target in names)}


def in_room(room: str) -> list[str]:
    return [name for name in MODULES if name == f"ulmfit_ray.{room}" or name.startswith(f"ulmfit_ray.{room}.")]


def run_python(program: str) -> None:
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_nothing_that_does_not_belong_into_it(room: str) -> None:
    assert in_room(room)
    for module in in_room(room):
        assert not reaches(imports(module), *FORBIDDEN[room]), module


def test_only_pipelines_import_ray() -> None:
    importing = {module for module in MODULES if reaches(imports(module), "ray")}
    assert importing
    assert all(module.startswith("ulmfit_ray.pipelines.") for module in importing)


def test_only_open_text_imports_smart_open() -> None:
    assert [module for module in MODULES if reaches(imports(module), "smart_open")] == ["ulmfit_ray.data.open_text"]


def test_only_the_models_files_import_safetensors_and_only_inside_functions() -> None:
    assert [module for module in MODULES if reaches(imports(module), "safetensors")] == ["ulmfit_ray.model.files"]
    assert not reaches(imports_at_import("ulmfit_ray.model.files"), "safetensors")


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_beside_each_other_do_not_import_each_other(room: str) -> None:
    others = [f"ulmfit_ray.{other}" for other in ROOMS if other != room]
    for module in in_room(room):
        assert not reaches(imports(module), *others), module


def test_the_model_imports_no_other_room() -> None:
    for module in in_room("model"):
        assert all(name.startswith("ulmfit_ray.model") for name in reaches(imports(module), "ulmfit_ray")), module


@pytest.mark.parametrize("room", ["text", "data", "retrieval"])
def test_rooms_without_torch_do_not_import_the_model(room: str) -> None:
    for module in in_room(room):
        assert not reaches(imports(module), "ulmfit_ray.model"), module


def test_nothing_below_imports_pipelines_or_the_command() -> None:
    above = ("ulmfit_ray.pipelines", "ulmfit_ray.cli")
    below = [module for module in MODULES if not module.startswith(above)]
    assert len(below) > 20
    for module in below:
        assert not reaches(imports(module), *above), module


def test_the_command_names_its_pipelines_without_importing_them() -> None:
    assert reaches(imports("ulmfit_ray.cli"), "ulmfit_ray") <= {
        "ulmfit_ray.config",
        "ulmfit_ray.config.ConfigError",
        "ulmfit_ray.config.parse_config",
    }


def test_no_module_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "util", "common", "helpers", "misc", "base"}
    assert not [module for module in MODULES if drawers & set(module.split("."))]


def test_importing_the_command_imports_neither_torch_nor_ray_nor_spacy() -> None:
    run_python("import sys, ulmfit_ray.cli; assert not {'torch', 'ray', 'spacy'} & set(sys.modules)")


def test_text_data_and_retrieval_import_where_torch_and_ray_are_missing() -> None:
    # spaCy's thinc imports torch wherever it is installed, so its absence from sys.modules cannot be asked for.
    modules = [module for room in ("text", "data", "retrieval") for module in in_room(room)]
    run_python(
        "import importlib, sys; sys.modules |= dict.fromkeys(['torch', 'ray']);"
        f"[importlib.import_module(module) for module in {modules}]"
    )


def test_data_and_retrieval_import_neither_torch_nor_spacy() -> None:
    modules = [*in_room("data"), *in_room("retrieval")]
    run_python(
        f"import importlib, sys; [importlib.import_module(module) for module in {modules}];"
        "assert not {'torch', 'ray', 'spacy'} & set(sys.modules)"
    )


def test_model_training_and_encoding_import_on_a_bare_gpu_machine() -> None:
    modules = [module for room in ("model", "training", "encoding") for module in in_room(room)]
    run_python(
        f"import importlib, sys; sys.modules |= dict.fromkeys({[name for name in HEAVY if name != 'pyarrow']});"
        f"[importlib.import_module(module) for module in {modules}]"
    )
