"""Jobs on a store that fails at random make the same bytes as on a local disk; a node fetches each file once."""

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from buckets import copy, files, tokenized
from s3 import Fault, Proxy, Storm

from ulmfit_ray.pipelines.encode import embed
from ulmfit_ray.pipelines.encode.config import EmbedConfig
from ulmfit_ray.pipelines.options import Actors
from ulmfit_ray.storage.folder import Folder

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def embedded(model: str, tokens: str, output: str) -> dict[str, str]:
    """Embed a token dataset by two actors; return the hashes of the shards."""
    embed.run(EmbedConfig(model=(model,), input=(tokens,), output=output, actors=Actors(min=2, max=2)))
    return files(output)


@pytest.fixture
def no_copies() -> None:
    """Let this node have no copies of files in stores."""
    shutil.rmtree(os.environ["ULMFIT_RAY_CACHE"], ignore_errors=True)


@pytest.mark.usefixtures("no_copies")
def test_a_storm_changes_no_byte_of_what_is_tokenized_and_embedded(
    corpus: Path, tokens: str, language_model: str, tmp_path: Path, bucket: str, proxy: Proxy
) -> None:
    copy(corpus, Folder(f"{bucket}/corpus"))
    copy(Path(language_model), Folder(f"{bucket}/lm"))
    storm = proxy.storm = Storm(13, share=0.08)
    stall = Fault(where=".arrow", what="stall", times=1)
    proxy.faults = [stall]
    manifest = tokenized(bucket, "corpus")
    found = embedded(f"{bucket}/lm", f"{bucket}/tokens", f"{bucket}/embeddings")
    proxy.storm = None
    assert (manifest.counts.num_documents, manifest.counts.num_quarantined) == (200, 0)
    assert files(f"{bucket}/tokens") == files(tokens)
    assert found == embedded(language_model, tokens, str(tmp_path / "embeddings"))
    assert Folder(f"{bucket}/tokens").names("failed") == Folder(f"{bucket}/embeddings").names("failed") == []
    assert (stall.count, storm.count > 20) == (1, True)


@pytest.mark.usefixtures("no_copies")
def test_a_token_shard_and_a_model_are_fetched_once_to_a_node(
    tokens: str, language_model: str, bucket: str, proxy: Proxy
) -> None:
    copy(Path(tokens), Folder(f"{bucket}/tokens"))
    copy(Path(language_model), Folder(f"{bucket}/lm"))
    proxy.begin_anew()
    for number in range(2):
        embedded(f"{bucket}/lm", f"{bucket}/tokens", f"{bucket}/embeddings-{number}")
    names = [line.rpartition("/")[2] for line in proxy.requests if line.startswith("GET") and "?" not in line]
    fetched = Counter(name for name in names if name.endswith((".arrow", "model.safetensors")))
    shards = Counter(f"part-000000{number}.arrow" for number in range(4))
    assert fetched - Counter({"plan.arrow": 100}) == shards + Counter(["model.safetensors"])
