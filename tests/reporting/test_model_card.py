"""A model's README says what it is, what it scored, and how to make it again."""

from dataclasses import replace

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.description import Block, ModelDescription
from ulmfit_ray.reporting.model_card import imported_model_card, language_model_card, retriever_card
from ulmfit_ray.storage.job_record import JobRecord
from ulmfit_ray.storage.manifest import Totals

CONFIG = {
    "tokens": "s3://texts/tokens",
    "seed": 7,
    "training": {"bptt": 50, "report_every_steps": 9},
}
JOB = JobRecord("pretrain", "ulmfit-ray pretrain --tokens t --output lm", CONFIG, {})
DATA = Totals(num_shards=3, num_documents=5_183, num_tokens=1_465_813, num_quarantined=0, quarantined={})
SHAPE = Architecture(vocab_size=500, embedding_dim=20, hidden_size=30, num_layers=2, dropout_scale=0.5)
FIGURES = {"num_parameters": 12345, "train_tokens": 1_400_000, "num_steps": 700, "precision": "bfloat16"}


def describe(kind: str, blocks: tuple[Block, ...] = ()) -> ModelDescription:
    return ModelDescription(
        kind=kind,
        direction="forward",
        pooling="mean",
        dimension=20,
        architecture=SHAPE,
        precision="float32",
        blocks=blocks,
    )


def test_a_language_models_card_has_its_figures_beside_word_frequencies() -> None:
    scores = {"perplexity": 150.9, "word_frequency_perplexity": 755.1, "accuracy": 0.248, "loss": 5.0166}
    card = language_model_card(describe("lm"), JOB, FIGURES | scores, DATA)
    assert "20-30, 2 layers, 12,345 parameters, 500 words, forward." in card
    assert "Trained on 1,400,000 tokens in 700 steps (bfloat16)." in card
    assert "| perplexity | 150.9 | 755.1 |" in card
    assert "| loss (nats per token) | 5.017 | |" in card
    assert JOB.command in card


def test_a_card_says_on_what_and_how_the_model_was_trained() -> None:
    lines = language_model_card(describe("lm"), JOB, FIGURES, DATA).splitlines()
    assert "`s3://texts/tokens`: 5,183 documents, 1,465,813 tokens; vocabulary of 500 words." in lines
    assert "![Loss and learning rate by step](curves.png)" in lines
    table = lines[lines.index("| option | value |") + 2 :]
    # Half of fastai's dropouts; how often a run reports is none of the model's business.
    assert table[: table.index("")] == [
        *("| training.bptt | 50 |", "| seed | 7 |", "| architecture.embedding-dropout | 0.01 |"),
        *("| architecture.input-dropout | 0.125 |", "| architecture.hidden-dropout | 0.075 |"),
        *("| architecture.output-dropout | 0.05 |", "| architecture.weight-dropout | 0.1 |"),
    ]


def test_a_model_that_was_not_validated_claims_nothing() -> None:
    card = language_model_card(describe("lm"), JOB, FIGURES, DATA)
    assert "perplexity" not in card
    assert "Results" not in card


def test_a_retrievers_card_says_where_its_blocks_lie_and_how_often_it_is_right() -> None:
    blocks = (Block("context", 0, 20), Block("words", 20, 52))
    figures = FIGURES | {"num_pairs": 5183, "loss": 1.5, "accuracy_joint": 0.952}
    job = replace(JOB, config=CONFIG | {"model": "models/lm"})
    card = retriever_card(describe("retriever", blocks), job, figures, DATA)
    assert "blocks: context (0 to 20), words (20 to 52)." in card
    assert "Trained on 5,183 pairs in 700 steps (bfloat16), starting from `models/lm`." in card
    assert "| own document first in its batch, joint | 95.2% |" in card
    assert "dropout" not in card


def test_an_imported_models_card_has_no_curves() -> None:
    figures = {"num_parameters": 12345, "has_decoder": True, "words_with_mean_row": "none"}
    card = imported_model_card(describe("lm"), JOB, figures)
    assert "20-30, 2 layers, 12,345 parameters, 500 words, forward." in card
    assert "curves.png" not in card
