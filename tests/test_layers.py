"""Imports point one way (CONTRIBUTING.md, "Rooms"), and modules that must be light are."""

import ast
import functools
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ulmfit_ray.cli import OF_A_VERB, VERBS

PACKAGE = Path(__file__).parents[1] / "ulmfit_ray"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))
}
HEAVY = ("ray", "pyarrow", "spacy", "tyro", "safetensors", "smart_open")
MAY_USE = {
    "config": (),
    "text": (),
    "storage": ("model.description",),
    "corpus": ("storage.folder", "storage.plan", "storage.rows"),
    "streams": ("storage", "text.census"),
    "model": (),
    "training": ("model",),
    "encoding": ("model",),
    "retrieval": (),
    "evaluation": (),
    "reporting": ("config", "storage", "model.description"),
    "lifecycle": ("config", "storage", "reporting"),
    "document_encoder": ("storage", "text", "model", "encoding"),
    "joint_encoder": ("storage", "model", "encoding", "document_encoder"),
    "document_classifier": ("storage", "model", "encoding", "document_encoder"),
    "commands": (
        *("config", "lifecycle", "reporting", "corpus", "text", "storage", "streams", "model", "training", "encoding"),
        *("retrieval", "evaluation", "document_encoder", "document_classifier", "joint_encoder"),
    ),
    "pipelines": (
        *("config", "lifecycle", "reporting", "corpus", "text", "storage", "streams", "model", "training", "encoding"),
        *("retrieval", "evaluation", "document_encoder", "document_classifier", "joint_encoder", "places"),
    ),
    "places": ("config", "storage.folder"),
    "cli": ("config", "places", "reporting.logs"),
}
"""Which rooms and modules a room may import besides itself; every module of the package stands in one of them."""
FORBIDDEN = {
    "text": ("torch", "ray", "smart_open", "safetensors", "tyro"),
    "corpus": ("torch", "ray", "spacy", "safetensors", "tyro"),
    "storage": ("torch", "ray", "spacy", "safetensors", "tyro", "smart_open"),
    "streams": ("torch", "ray", "spacy", "safetensors", "tyro", "smart_open"),
    "model": ("ray", "pyarrow", "spacy", "tyro", "smart_open"),
    "training": HEAVY,
    "encoding": HEAVY,
    "retrieval": ("ray", "torch", "spacy", "safetensors", "tyro", "smart_open"),
    "evaluation": ("ray", "torch", "spacy", "safetensors", "tyro", "smart_open", "pyarrow"),
    "document_encoder": ("ray", "tyro", "smart_open"),
    "document_classifier": ("ray", "tyro", "smart_open"),
    "joint_encoder": ("ray", "tyro", "smart_open"),
    "reporting": ("ray", "torch", "spacy", "safetensors", "smart_open"),
    "lifecycle": ("ray", "torch", "spacy", "safetensors", "smart_open"),
    "config": ("ray", "torch", "spacy"),
    "places": ("ray", "torch", "spacy"),
    "cli": ("ray", "torch", "spacy"),
}
"""Libraries that a room does without, inside its functions too."""
HELPS = ("", *VERBS, *(f"{outer} tokenize" for outer in OF_A_VERB))
"""What has a --help."""
WITHOUT_TORCH = ("text", "corpus", "storage", "streams", "retrieval", "evaluation")


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


@functools.cache
def imports(module: str) -> set[str]:
    """Return what a module imports anywhere, inside functions too."""
    return imports_of(ast.parse(MODULES[module].read_text(encoding="utf-8")).body)


def imports_at_import(module: str) -> set[str]:
    """Return what a module imports when it is imported itself."""
    body = ast.parse(MODULES[module].read_text(encoding="utf-8")).body
    return imports_of([node for node in body if not isinstance(node, ast.FunctionDef | ast.ClassDef)])


def reaches(found: set[str], *names: str) -> set[str]:
    return {name for name in found if any(name == target or name.startswith(f"{target}.") for target in names)}


def own_modules(found: set[str]) -> set[str]:
    """Return the modules of this package among some imported names (a class's name falls to its module)."""
    names = reaches(found, "ulmfit_ray") - {"ulmfit_ray"}
    return {name if name in MODULES else name.rpartition(".")[0] for name in names} & set(MODULES)


def in_room(room: str) -> list[str]:
    return [name for name in MODULES if name == f"ulmfit_ray.{room}" or name.startswith(f"ulmfit_ray.{room}.")]


def run_python(program: str) -> None:
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.fixture(scope="module")
def help_of() -> Iterator[Callable[[str], Callable[[], None]]]:
    """Return a function that gives what waits for the --help of a verb; all are started at once, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        yield {verb: pool.submit(run_python, help_program(verb)).result for verb in HELPS}.__getitem__


def test_every_module_stands_in_a_room() -> None:
    in_rooms = [module for room in MAY_USE for module in in_room(room)]
    assert sorted(in_rooms) == sorted(set(MODULES) - {"ulmfit_ray.__init__"})


@pytest.mark.parametrize("room", MAY_USE)
def test_a_room_imports_only_the_rooms_below_it(room: str) -> None:
    allowed = [f"ulmfit_ray.{name}" for name in (room, *MAY_USE[room])]
    for module in in_room(room):
        assert own_modules(imports(module)) == reaches(own_modules(imports(module)), *allowed), module


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_nothing_that_does_not_belong_into_it(room: str) -> None:
    for module in in_room(room):
        assert not reaches(imports(module), *FORBIDDEN[room]), module


def test_only_pipelines_import_ray() -> None:
    importing = {module for module in MODULES if reaches(imports(module), "ray")}
    assert importing
    assert all(module.startswith("ulmfit_ray.pipelines.") for module in importing)


def test_only_open_text_imports_smart_open() -> None:
    assert [module for module in MODULES if reaches(imports(module), "smart_open")] == ["ulmfit_ray.corpus.open_text"]


def test_only_the_models_files_import_safetensors_and_only_inside_functions() -> None:
    assert [module for module in MODULES if reaches(imports(module), "safetensors")] == ["ulmfit_ray.model.files"]
    assert not reaches(imports_at_import("ulmfit_ray.model.files"), "safetensors")


def test_no_module_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "util", "common", "helpers", "misc", "base"}
    assert not [module for module in MODULES if drawers & set(module.split("."))]


def test_rooms_without_torch_import_where_torch_and_ray_are_missing() -> None:
    # spaCy's thinc imports torch wherever it is installed, so its absence from sys.modules cannot be asked for.
    modules = [module for room in WITHOUT_TORCH for module in in_room(room)]
    run_python(
        "import importlib, sys; sys.modules |= dict.fromkeys(['torch', 'ray']);"
        f"[importlib.import_module(module) for module in {modules}]"
    )


def test_rooms_without_text_import_neither_torch_nor_spacy() -> None:
    modules = [module for room in WITHOUT_TORCH if room != "text" for module in in_room(room)]
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


def help_program(verb: str) -> str:
    """Return a program that shows the --help of a verb and then looks at what was loaded."""
    arguments = [*shlex.split(verb), "--help"]
    return (
        f"import sys; sys.argv = ['ulmfit-ray', *{arguments}]\n"
        "from ulmfit_ray.cli import main\n"
        "try: status = main()\n"
        "except SystemExit as ended: status = ended.code\n"
        "assert not status, status\n"
        "assert not {'torch', 'ray', 'spacy', 'thinc'} & set(sys.modules), sys.modules.keys()"
    )


@pytest.mark.parametrize("verb", HELPS)
def test_help_of_a_verb_loads_neither_torch_nor_ray_nor_spacy(
    verb: str, help_of: Callable[[str], Callable[[], None]]
) -> None:
    # What takes seconds to import; --help took 3.3 s of CPU with it and takes under 0.6 s without.
    help_of(verb)()
