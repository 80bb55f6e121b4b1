"""Jobs that read and write buckets make the same bytes as on a local disk, and survive a connection that breaks."""

import csv
import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
from buckets import copy, files, tokenized
from classifiers import classifier_of
from s3 import Fault, Proxy

from ulmfit_ray.commands import inspect, verify
from ulmfit_ray.commands.inspect import InspectConfig
from ulmfit_ray.commands.verify import VerifyConfig
from ulmfit_ray.model.architecture import ArchitectureOptions
from ulmfit_ray.pipelines.encode import classify, embed
from ulmfit_ray.pipelines.encode.config import ClassifyConfig, EmbedConfig
from ulmfit_ray.pipelines.options import Scaling
from ulmfit_ray.pipelines.train import pretrain
from ulmfit_ray.pipelines.train.config import PretrainConfig
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.training.config import LanguageModelTraining

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


@pytest.fixture
def places(tmp_path: Path, bucket: str) -> tuple[str, str]:
    """A local place and one in a bucket."""
    return str(tmp_path), f"{bucket}/a place"


def test_a_folder_is_tokenized_and_embedded_like_a_local_one(
    corpus: Path, tokens: str, language_model: str, places: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    local, place = places
    copy(corpus, Folder(f"{place}/corpus"))
    copy(Path(language_model), Folder(f"{place}/lm"))
    manifest = tokenized(place, "corpus")
    assert files(f"{place}/tokens") == files(tokens)
    assert manifest.counts.num_shards == 4
    assert set(Folder(f"{place}/tokens").names()) == set(Folder(tokens).names())
    for model, source, output in (
        (language_model, tokens, f"{local}/embeddings"),
        (f"{place}/lm", f"{place}/tokens", f"{place}/embeddings"),
    ):
        embed.run(EmbedConfig(model=(model,), input=(source,), output=output))
    assert files(f"{place}/embeddings") == files(f"{local}/embeddings")
    for output in ("tokens", "embeddings"):
        assert verify.run(VerifyConfig(input=f"{place}/{output}"))["num_documents"] == 200
        inspect.run(InspectConfig(input=f"{place}/{output}"))
    assert f"output {place}/embeddings" in " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_a_model_is_trained_and_a_classifier_used_in_a_bucket_like_on_a_local_disk(
    tokens: str,
    language_model: str,
    small_architecture: ArchitectureOptions,
    small_training: LanguageModelTraining,
    places: tuple[str, str],
    proxy: Proxy,
) -> None:
    local, place = places
    copy(Path(tokens), Folder(f"{place}/tokens"))
    training = replace(small_training, num_epochs=3, checkpoint_every_steps=40)
    pretrain.run(
        PretrainConfig(
            tokens=f"{place}/tokens",
            output=f"{place}/lm",
            architecture=small_architecture,
            training=training,
            scaling=Scaling(num_cpus=1),
            precision="float32",
        )
    )
    assert sum("PUT" in line and "/checkpoint.json" in line for line in proxy.requests) > 1
    assert Folder(f"{place}/lm").sha256("model.safetensors") == Folder(language_model).sha256("model.safetensors")
    classifier = classifier_of(tokens, Path(local, "classifier"))
    copy(Path(classifier), Folder(f"{place}/classifier"))
    for model, source, output in (
        (classifier, tokens, f"{local}/predictions"),
        (f"{place}/classifier", f"{place}/tokens", f"{place}/predictions"),
    ):
        classify.run(ClassifyConfig(model=(model,), input=(source,), output=output))
    assert files(f"{place}/predictions") == files(f"{local}/predictions")
    for output in ("lm", "predictions"):
        verify.run(VerifyConfig(input=f"{place}/{output}"))


@pytest.fixture
def csv_corpus(abstracts: list[dict[str, str]], places: tuple[str, str], tmp_path: Path) -> str:
    """A compressed csv file of several shards, with a row that cannot be read, in both places."""
    with gzip.open(tmp_path / "in.csv.gz", "wt", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["_id", "title", "text"])
        for number in range(12):
            rows.writerows([f"{row['_id']}-{number}", row["title"], row["text"]] for row in abstracts)
        file.write("one cell\r\n")
    Folder(places[1]).publish(tmp_path / "in.csv.gz", "in.csv.gz")
    return "in.csv.gz"


def test_a_compressed_file_whose_connection_breaks_gives_the_shards_of_a_local_one(
    places: tuple[str, str], csv_corpus: str, proxy: Proxy
) -> None:
    local, place = places
    fault = Fault(where=f"/{csv_corpus}", what="cut", after_bytes=100_000, times=1)
    tokenized(local, csv_corpus)
    proxy.faults = [fault]
    manifest = tokenized(place, csv_corpus)
    assert fault.count == 1
    assert (manifest.counts.num_documents, manifest.counts.num_quarantined) == (2400, 1)
    assert manifest.counts.num_shards > 1
    assert files(f"{place}/tokens") == files(f"{local}/tokens")


def test_a_store_that_is_busy_now_and_then_changes_nothing(
    corpus: Path, tokens: str, places: tuple[str, str], proxy: Proxy
) -> None:
    copy(corpus, Folder(f"{places[1]}/corpus"))
    proxy.faults = [
        Fault(where="PUT", what="unavailable", times=2),
        Fault(where=".arrow", what="unavailable", times=2),
        Fault(where="vocab.json", what="unavailable", times=1),
    ]
    tokenized(places[1], "corpus")
    assert all(fault.count == fault.times for fault in proxy.faults)
    assert files(f"{places[1]}/tokens") == files(tokens)


def test_a_small_shard_costs_twenty_one_requests_at_most(corpus: Path, places: tuple[str, str], proxy: Proxy) -> None:
    copy(corpus, Folder(f"{places[1]}/corpus"))
    proxy.begin_anew()
    tokenized(places[1], "corpus")
    about_a_shard = [line for line in proxy.requests if "part-0000002" in line]
    assert len(about_a_shard) <= 21, "\n".join(about_a_shard)
    assert json.loads(Folder(f"{places[1]}/tokens").read_bytes("done/part-0000002.json"))["num_documents"] == 50
