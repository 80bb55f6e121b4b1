"""A model's README says what it is, what it scored, and how to make it again."""

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.description import Block, ModelDescription
from ulmfit_ray.reporting.model_card import language_model_card, retriever_card
from ulmfit_ray.storage.job_record import JobRecord

JOB = JobRecord("pretrain", "ulmfit-ray pretrain --tokens t --output lm", {}, {})
SHAPE = Architecture(vocab_size=500, embedding_dim=20, hidden_size=30, num_layers=2)
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
    scores = {"perplexity": 150.9, "word_frequency_perplexity": 755.1, "accuracy": 0.248}
    card = language_model_card(describe("lm"), JOB, FIGURES | scores)
    assert "20-30, 2 layers, 12,345 parameters, 500 words, forward." in card
    assert "Trained on 1,400,000 tokens in 700 steps (bfloat16)." in card
    assert "| perplexity | 150.9 | 755.1 |" in card
    assert JOB.command in card


def test_a_model_that_was_not_validated_claims_nothing() -> None:
    assert "perplexity" not in language_model_card(describe("lm"), JOB, FIGURES)


def test_a_retrievers_card_says_where_its_blocks_lie() -> None:
    blocks = (Block("context", 0, 20), Block("words", 20, 52))
    card = retriever_card(describe("retriever", blocks), JOB, FIGURES | {"num_pairs": 5183, "loss": 1.5})
    assert "blocks: context (0 to 20), words (20 to 52)." in card
    assert "Trained on 5,183 pairs in 700 steps (bfloat16);" in card
