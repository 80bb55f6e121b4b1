"""A model directory is everything needed to use a model, and is refused while it is not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.description import ClassifierHead, ModelDescription, Objective
from ulmfit_ray.storage.folder import Folder, sha256_file
from ulmfit_ray.storage.job_record import JobRecord, read_job
from ulmfit_ray.storage.manifest import IncompleteDatasetError, Manifest
from ulmfit_ray.storage.model_directory import ModelDirectory, common_head, write_model_directory

MakeDirectory = Callable[[str, ClassifierHead | None], ModelDirectory]
MODEL = ModelDescription(
    kind="lm",
    direction="forward",
    pooling="mean",
    dimension=400,
    architecture=Architecture(vocab_size=60_000),
    precision="float32",
)


def write(
    folder: Folder,
    tmp_path: Path,
    verb: str = "pretrain",
    tokenizer_model: bytes | None = None,
    model: ModelDescription = MODEL,
) -> Manifest:
    (tmp_path / "weights").write_bytes(b"weights")
    return write_model_directory(
        folder,
        job=JobRecord(verb, "ulmfit-ray pretrain", {"output": "lm"}, {"tokens": "00"}),
        model=model,
        weights=tmp_path / "weights",
        vocab={"tokens": ["xxunk"]},
        tokenizer={"kind": "spacy"},
        tokenizer_model=tokenizer_model,
        log=[{"step": 1}, {"step": 2}],
        card="# A model\n",
        manifest=Manifest(job=verb, vocab="v" * 64, tokenizer="t" * 64, files={}, figures={"perplexity": 30.5}),
    )


def test_everything_that_was_written_is_read_back(folder: Folder, tmp_path: Path) -> None:
    manifest = write(folder, tmp_path)
    directory = ModelDirectory(folder.uri)
    assert directory.manifest == manifest
    assert (directory.description, directory.vocab) == (MODEL, {"tokens": ["xxunk"]})
    assert (directory.tokenizer, read_job(directory.folder).verb) == ({"kind": "spacy"}, "pretrain")
    assert directory.manifest.vocab == "v" * 64
    with directory.weights() as path:
        assert directory.manifest.files["model.safetensors"] == sha256_file(path)
    assert folder.read_bytes("training_log.jsonl") == b'{"step": 1}\n{"step": 2}\n'
    assert folder.read_bytes("README.md") == b"# A model\n"


def test_the_manifest_has_the_hash_of_every_other_file(folder: Folder, tmp_path: Path) -> None:
    manifest = write(folder, tmp_path)
    assert manifest.files == {name: folder.sha256(name) for name in folder.names() if name != "manifest.json"}
    assert len(manifest.files) == 6


def test_the_same_weights_with_another_meaning_are_another_model(folder: Folder, tmp_path: Path) -> None:
    head = ClassifierHead(objective="single-label", labels=("neg", "pos"))
    variants = [
        MODEL,
        replace(MODEL, direction="backward"),
        replace(MODEL, pooling="last"),
        replace(MODEL, head=head),
        replace(MODEL, head=replace(head, labels=("pos", "neg"))),
        replace(MODEL, head=replace(head, objective="multi-label")),
    ]
    found = []
    for model in [*variants, replace(MODEL, precision="bfloat16")]:
        write(folder, tmp_path, model=model)
        found.append(ModelDirectory(folder.uri).fingerprint)
    assert len(set(found)) == len(variants)
    assert found[-1] == found[0]


def test_a_tokenizers_own_model_is_kept_beside_it_and_hashed(folder: Folder, tmp_path: Path) -> None:
    manifest = write(folder, tmp_path, tokenizer_model=b"pieces")
    assert ModelDirectory(folder.uri).tokenizer_model == b"pieces"
    assert manifest.files["tokenizer.model"] == folder.sha256("tokenizer.model")
    write(Folder(f"{folder.uri}2"), tmp_path)
    assert ModelDirectory(f"{folder.uri}2").tokenizer_model is None


def test_the_manifest_is_published_last(folder: Folder, tmp_path: Path, published: list[str]) -> None:
    write(folder, tmp_path)
    assert sorted(published) == folder.names()
    assert published[-1] == "manifest.json"


def test_weights_of_another_place_are_given_as_a_local_file_where_the_node_keeps_no_copies(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ULMFIT_RAY_CACHE_GIB", "0")
    write(folder, tmp_path)
    directory = ModelDirectory(folder.uri)
    directory.folder.is_local = False
    with directory.weights() as path:
        assert path.read_bytes() == b"weights"
        assert str(path) != folder.path("model.safetensors")
    assert not path.exists()


def test_a_directory_whose_training_has_not_finished_is_refused(folder: Folder, tmp_path: Path) -> None:
    write(folder, tmp_path)
    folder.delete("manifest.json")
    with pytest.raises(IncompleteDatasetError, match="pretrain job has not finished"):
        ModelDirectory(folder.uri)


def test_the_output_of_another_job_is_no_model(folder: Folder, tmp_path: Path) -> None:
    write(folder, tmp_path, verb="tokenize")
    with pytest.raises(ValueError, match="is an output of `tokenize`; needed is one of `pretrain`"):
        ModelDirectory(folder.uri)


def test_tokens_of_another_vocabulary_are_refused_with_the_way_out(folder: Folder, tmp_path: Path) -> None:
    write(folder, tmp_path)
    directory = ModelDirectory(folder.uri)
    directory.check_tokens("v" * 64, "tokens")
    with pytest.raises(
        ValueError, match=r"vocabulary of tokens \(wwwwwwwwwwww\) does not fit .*\n.*tokenize \.\.\. --vocab"
    ):
        directory.check_tokens("w" * 64, "tokens")


@pytest.fixture
def make_directory(local_folder: Folder, tmp_path: Path) -> MakeDirectory:
    """Return a function that writes the model directory `name`, with such a head."""

    def make(name: str, head: ClassifierHead | None) -> ModelDirectory:
        folder = Folder(f"{local_folder.uri}/{name}")
        kind = "lm" if head is None else "classifier"
        write(folder, tmp_path, "train-classifier", model=replace(MODEL, kind=kind, head=head))
        return ModelDirectory(folder.uri)

    return make


def head_of(*labels: str, objective: Objective = "single-label", hidden_size: int = 50) -> ClassifierHead:
    return ClassifierHead(objective=objective, labels=labels, hidden_sizes=(hidden_size,))


def test_classifiers_of_the_same_labels_have_a_common_head(make_directory: MakeDirectory) -> None:
    directories = [make_directory(f"{size}", head_of("a", "b", hidden_size=size)) for size in (50, 20)]
    assert common_head(directories) == head_of("a", "b")
    assert common_head(directories[1:]) == head_of("a", "b", hidden_size=20)


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (head_of("a", "c"), r"label 1 is 'b' in the first and 'c' in the second"),
        (head_of("b", "a"), r"label 0 is 'a' in the first and 'b' in the second"),
        (head_of("a", "b", "c"), r"label 2 is missing in the first and 'c' in the second"),
        (head_of("a"), r"label 1 is 'b' in the first and missing in the second"),
        (head_of("a", "b", objective="multi-label"), r"the first is for single-label, the second for multi-label"),
        (head_of(objective="regression"), r"the first is for single-label, the second for regression"),
    ],
)
def test_classifiers_that_cannot_predict_together_are_named_with_the_first_difference(
    make_directory: MakeDirectory, other: ClassifierHead, difference: str
) -> None:
    directories = [make_directory(f"{number}", head) for number, head in enumerate([head_of("a", "b")] * 2 + [other])]
    with pytest.raises(ValueError, match=rf"models .*/0 and .*/2 cannot predict together: {difference}") as error:
        common_head(directories)
    assert "\n" not in str(error.value)


def test_a_model_that_is_no_classifier_has_no_head(make_directory: MakeDirectory) -> None:
    directories = [make_directory("classifier", head_of("a", "b")), make_directory("lm", None)]
    with pytest.raises(
        ValueError, match=r"model .*/lm is no classifier, but of kind lm: `ulmfit-ray train-classifier`"
    ):
        common_head(directories)
