"""A prompt, continued."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ulmfit_ray.cli import main
from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import LanguageModel
from ulmfit_ray.model.generation import continuation


@pytest.fixture
def model() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(Architecture(vocab_size=40, embedding_dim=6, hidden_size=10, num_layers=2)).eval()


def drawn(model: LanguageModel, count: int, **options: object) -> list[int]:
    usual = {"temperature": 1.0, "top_k": 0, "never": (0, 1), "generator": torch.Generator().manual_seed(1)}
    return list(itertools.islice(continuation(model, [2, 9, 8], **(usual | options)), count))


@torch.no_grad()
def likeliest(model: LanguageModel, ids: list[int]) -> list[int]:
    """Return words by falling probability behind all of `ids`, which are read in one piece."""
    outputs, _ = model.backbone(torch.tensor([ids]), model.backbone.initial_hidden(1))
    matrix, bias = model.decoder()
    order = (outputs[0, -1] @ matrix.t() + bias).argsort(descending=True).tolist()
    return [word for word in order if word > 1]


def test_without_temperature_each_token_is_the_likeliest_behind_all_before_it(model: LanguageModel) -> None:
    ids = [2, 9, 8]
    for token in drawn(model, 12, temperature=0):
        assert token == likeliest(model, ids)[0]
        ids.append(token)


def test_only_the_likeliest_are_drawn_from(model: LanguageModel) -> None:
    firsts = {drawn(model, 1, top_k=3, generator=torch.Generator().manual_seed(seed))[0] for seed in range(60)}
    assert firsts == set(likeliest(model, [2, 9, 8])[:3])


def test_words_are_drawn_as_often_as_the_temperature_says(model: LanguageModel) -> None:
    with torch.no_grad():
        model.decoder_bias.normal_(generator=torch.Generator().manual_seed(2))
        outputs, _ = model.backbone(torch.tensor([[2, 9, 8]]), model.backbone.initial_hidden(1))
        matrix, bias = model.decoder()
        logits = outputs[0, -1] @ matrix.t() + bias
    logits[:2] = -torch.inf
    expected = (logits / 0.5).softmax(0)
    generator = torch.Generator().manual_seed(3)
    found = torch.zeros(40)
    for _ in range(2000):
        found[drawn(model, 1, temperature=0.5, generator=generator)[0]] += 1 / 2000
    assert float((found - expected).abs().max()) < 4 * (0.25 / 2000) ** 0.5


def test_a_seed_gives_the_same_text_again(language_model: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["generate", "--model", language_model, "--prompt", "Cold exposure", "--num-tokens", "12"]
    texts = []
    for seed in ("1", "1", "2"):
        assert main([*command, "--seed", seed]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]
    assert all(text.startswith("Cold exposure ") for text in texts)


def test_a_backward_model_writes_what_stands_before_the_prompt(
    language_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], as_backward: Callable[[str, Path], str]
) -> None:
    backward = as_backward(language_model, tmp_path / "backward")
    assert main(["generate", "--model", backward, "--prompt", "cold exposure .", "--num-tokens", "8"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("cold exposure.")


@pytest.fixture
def as_backward() -> Callable[[str, Path], str]:
    """Return a function that copies a model directory and says that it reads backward."""
    import json
    import shutil

    def copied(model: str, place: Path) -> str:
        shutil.copytree(model, place)
        config = json.loads((place / "config.json").read_text())
        config["model"]["direction"] = "backward"
        (place / "config.json").write_text(json.dumps(config))
        return str(place)

    return copied


def test_what_cannot_write_is_refused(retriever: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--model", retriever]) == 2
    assert "is a retriever, and no language model" in capsys.readouterr().err
    assert main(["generate", "--model", retriever, "--temperature", "-1"]) == 2
    assert "--top-k and --temperature not negative" in capsys.readouterr().err
