"""A model of fastai, from its two files to vectors, and back to files."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from ulmfit_ray.cli import main
from ulmfit_ray.document_encoder import DocumentEncoder
from ulmfit_ray.storage.model_directory import ModelDirectory

GOLDEN = Path(__file__).parents[2] / "golden"
WORDS: list[str] = pickle.loads((GOLDEN / "fastai_model.pkl").read_bytes())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The golden model, imported as a person does it."""
    output = str(tmp_path_factory.mktemp("imported") / "lm")
    assert imported(output) == 0
    return output


def imported(output: str, *options: str) -> int:
    given = {"--weights": str(GOLDEN / "fastai_model.pth"), "--itos": str(GOLDEN / "fastai_model.pkl")}
    given |= dict(zip(options[::2], options[1::2], strict=True))
    return main(["import-fastai", "--output", output, *(part for pair in given.items() for part in pair)])


def test_an_imported_model_is_a_model_directory_that_says_what_it_is(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = ModelDirectory(model)
    assert directory.vocab["tokens"] == WORDS[:50]
    assert directory.tokenizer["rules"] == "fastai-v2"
    assert directory.manifest.figures == {
        "num_words": 50,
        "num_parameters": 64 * 13 + 80 * 34 + 80 * 42 + 48 * 34,
        "words_with_mean_row": 0,
        "fake_words": 6,
        "has_decoder": "yes",
    }
    assert main(["verify", model]) == 0
    assert main(["inspect", model]) == 0
    assert imported(model) == 0
    assert "complete, nothing to do" in capsys.readouterr().out


def test_vectors_of_an_imported_model_are_means_of_what_fastais_encoder_gives(model: str) -> None:
    encoder = DocumentEncoder.load(model)
    (vector,) = encoder.encode(["Word3 word4 unheard"], pooling="mean")
    ids = [2, 8, WORDS.index("word3"), WORDS.index("word4"), 0]
    state = torch.load(GOLDEN / "fastai_model.pth", weights_only=True)
    outputs = state["0.encoder.weight"][ids].unsqueeze(0)
    for number in range(3):
        layer = torch.nn.LSTM(outputs.shape[2], len(state[f"0.rnns.{number}.module.bias_hh_l0"]) // 4, batch_first=True)
        own = {name: state[f"0.rnns.{number}.module.{name}"] for name in ("weight_ih_l0", "bias_ih_l0", "bias_hh_l0")}
        layer.load_state_dict(own | {"weight_hh_l0": state[f"0.rnns.{number}.weight_hh_l0_raw"]})
        outputs = layer(outputs)[0].detach()
    np.testing.assert_allclose(vector, outputs[0].mean(0).numpy(), atol=1e-6)
    # Nothing is known of how often its words occur.
    weighted = encoder.encode(["Word3 word4 unheard"], pooling="idf-mean")[0]
    np.testing.assert_allclose(weighted, vector, atol=1e-6)


def test_what_is_exported_are_the_files_that_were_imported(model: str, tmp_path: Path) -> None:
    out = str(tmp_path / "exported")
    assert main(["export-fastai", "--model", model, "--output", out]) == 0
    found = torch.load(f"{out}/model.pth", weights_only=True)
    expected = torch.load(GOLDEN / "fastai_model.pth", weights_only=True)
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    encoder = torch.load(f"{out}/encoder.pth", weights_only=True)
    assert list(encoder) == [name[2:] for name in expected if name.startswith("0.")]
    assert pickle.loads(Path(out, "vocab.pkl").read_bytes()) == WORDS


def test_exported_files_are_not_written_over_unless_that_is_asked_for(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "vocab.pkl").write_bytes(b"mine")
    command = ["export-fastai", "--model", model, "--output", str(tmp_path)]
    assert main(command) == 2
    assert "has vocab.pkl: use --overwrite" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["vocab.pkl"]
    assert main([*command, "--overwrite"]) == 0


def test_words_of_version_07_bring_the_rules_of_that_version(tmp_path: Path) -> None:
    words = ["_unk_", "_pad_", "t_up", "xbos", *(f"w{number}" for number in range(52))]
    (tmp_path / "itos.json").write_text(json.dumps(words))
    assert imported(str(tmp_path / "lm"), "--itos", str(tmp_path / "itos.json")) == 0
    directory = ModelDirectory(str(tmp_path / "lm"))
    assert directory.tokenizer["rules"] == "fastai-0.7"
    assert directory.manifest.figures["words_with_mean_row"] == 5


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--weights", str(GOLDEN / "fastai_model.pkl"), "it cannot be read as weights"),
        ("--itos", str(GOLDEN / "fastai_model.pth"), "it cannot be read as a list of words"),
        ("--weights", "missing.pth", "missing.pth: there is no such file"),
        ("--rules", "fastai-v3", "there is no rule 'fastai-v3'; did you mean"),
        ("--lang", "xx-yy", "xx-yy"),
    ],
)
def test_what_does_not_fit_is_told_in_a_line_and_leaves_nothing(
    option: str, value: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert imported(str(tmp_path / "lm"), option, value) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "lm").exists()


def test_a_dry_run_says_what_would_be_there_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--weights", str(GOLDEN / "fastai_model.pth"), "--itos", str(GOLDEN / "fastai_model.pkl")]
    assert main(["import-fastai", *given, "--output", str(tmp_path / "lm"), "--dry-run"]) == 0
    assert "num_words 50" in capsys.readouterr().out
    assert not (tmp_path / "lm").exists()
