"""Nothing that comes from a file is run: the sources name no loader of pickles, no `eval`, no `exec`."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for folder in ("ulmfit_ray", "jobs", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
RUNS_CODE = {
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.load", "cloudpickle.loads", "dill.load"),
    *("dill.loads", "joblib.load", "marshal.load", "marshal.loads", "shelve.open", "yaml.load", "yaml.unsafe_load"),
    *("pandas.read_pickle", "pd.read_pickle", "eval", "exec", "os.system", "tarfile.open", "zipfile.ZipFile"),
    *("shutil.unpack_archive", "torch.jit.load", "torch.hub.load"),
}
ONLY_WITH = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
"""Loaders that are safe with this argument. np.load's default is safe too; it stands there for whoever reads it."""
CAREFUL = {
    "ulmfit_ray/text/pickled_words.py": {"pickle.Unpickler"},
    "ulmfit_ray/pipelines/cluster/upload.py": {"zipfile.ZipFile"},
}
"""What derives from the first refuses every class and function; the second only writes."""
WITHOUT_PICKLES = {"np.load"}


def dangers(source: str, careful: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield what in a source may run what a file holds."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute | ast.Name) and ast.unparse(node) in RUNS_CODE - careful:
            yield f"{ast.unparse(node)} in line {node.lineno}"
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from (f"{name} in line {node.lineno}" for name in names & {*(RUNS_CODE - careful), *ONLY_WITH})
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ONLY_WITH:
            name, value = ONLY_WITH[ast.unparse(node.func)]
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            default = str(value) if ast.unparse(node.func) in WITHOUT_PICKLES else None
            if given.get(name, default) != str(value):
                yield f"{ast.unparse(node.func)} without {name}={value} in line {node.lineno}"


def test_no_source_runs_what_a_file_holds() -> None:
    assert len(SOURCES) > 200
    found = {}
    for path in SOURCES:
        name = str(path.relative_to(ROOT))
        found[name] = list(dangers(path.read_text(), frozenset(CAREFUL.get(name, ()))))
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "source",
    [
        "pickle.loads(x)",
        "load = pickle.load",
        "from pickle import loads",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "np.load(f, allow_pickle=True)",
        "yaml.load(f)",
        "eval(x)",
        "class A(pickle.Unpickler): pass",
    ],
)
def test_the_test_sees_what_runs_code(source: str) -> None:
    assert list(dangers(source))
