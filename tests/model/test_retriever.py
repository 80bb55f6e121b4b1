import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import AWDLSTM
from ulmfit_ray.model.description import Reading
from ulmfit_ray.model.dropout import NO_DROPOUT, DropoutMasks, draw_masks
from ulmfit_ray.model.retriever import (
    AS_TRAINED,
    INITIAL_SCALE,
    QueryRetriever,
    Retriever,
    SpellingRetriever,
    bags_of_words,
)

NUM_WORDS, WORD_DIM = 80, 4
LENGTHS = [9, 6, 6, 1]


@pytest.fixture
def retriever(architecture: Architecture) -> Retriever:
    """Both blocks; the encoder knows 50 of the 80 words."""
    return build(["words", "context"], architecture)


@pytest.fixture
def texts() -> tuple[Tensor, Tensor]:
    ids = torch.randint(2, NUM_WORDS, (len(LENGTHS), max(LENGTHS)), generator=torch.Generator().manual_seed(1))
    # Words that stand several times in a text.
    ids[0, [2, 5, 8]] = int(ids[0, 1])
    ids[1, 3] = int(ids[1, 0])
    return ids, torch.tensor(LENGTHS)


def build(blocks: list[str], architecture: Architecture, *, saturated: bool = True) -> Retriever:
    torch.manual_seed(0)
    encoder = AWDLSTM(architecture) if "context" in blocks else None
    model = Retriever(blocks, vocab_size=NUM_WORDS, word_dim=WORD_DIM, backbone=encoder, saturated=saturated)
    torch.nn.init.normal_(model.log_weights)
    return model


def weighted_mean(vectors: Tensor, weights: Tensor) -> Tensor:
    return (vectors * weights[:, None]).sum(0) / weights.sum()


def blocks_slowly(model: Retriever, ids: Tensor, masks: DropoutMasks, pooling: str = "idf-mean") -> dict[str, Tensor]:
    """Return the normalized blocks of one text, ids (length,)."""
    weights = model.log_weights[ids].exp()
    outputs = model.backbone(ids[None], model.backbone.initial_hidden(1), masks)[0][0]
    pooled = {
        "last": lambda: outputs[-1],
        "mean": lambda: outputs.mean(0),
        "max": lambda: outputs.amax(0),
        "idf-mean": lambda: weighted_mean(outputs, weights),
        "concat": lambda: torch.cat([outputs[-1], outputs.amax(0), outputs.mean(0)]),
    }[pooling]()
    counts = [int((ids == word).sum()) for word in ids]
    factors = torch.tensor([(1 + math.log(count)) / count if model.saturated else 1.0 for count in counts])
    words = weighted_mean(model.word_table()[ids], weights * factors)
    return {"context": pooled / pooled.norm(), "words": words / words.norm()}


def some_masks(architecture: Architecture) -> DropoutMasks:
    shape = architecture.without_dropout(hidden_dropout=0.4, input_dropout=0.3)
    return draw_masks(shape, seed=2, global_batch_size=4, rows=slice(0, 4), device=torch.device("cpu"))


@pytest.mark.parametrize("asked", [["words", "context"], ["context", "words"]])
def test_context_comes_before_words_whatever_was_asked(asked: list[str], architecture: Architecture):
    model = build(asked, architecture)
    assert model.block_names == ["context", "words"]
    assert list(model.block_widths().items()) == [("context", 6), ("words", WORD_DIM)]


@pytest.mark.parametrize("pooling", ["last", "mean", "idf-mean", "max", "concat"])
@pytest.mark.parametrize("window", [1, 4, 9, 32])
def test_blocks_equal_a_loop_over_texts(retriever, texts, pooling: str, window: int):
    ids, num_tokens = texts
    retriever.backbone.window = window
    found = retriever.blocks(ids, num_tokens, Reading(pooling=pooling))
    for row, length in enumerate(LENGTHS):
        expected = blocks_slowly(retriever, ids[row, :length], NO_DROPOUT, pooling)
        for name, block in expected.items():
            assert_close(found[name][row], block, rtol=1e-5, atol=1e-6)


def test_without_saturation_every_occurrence_of_a_word_counts_alike(architecture, texts):
    model, (ids, num_tokens) = build(["words"], architecture, saturated=False), texts
    found = model.blocks(ids, num_tokens)["words"]
    for row, length in enumerate(LENGTHS):
        own = ids[row, :length]
        expected = weighted_mean(model.word_vectors[own], model.log_weights[own].exp())
        assert_close(found[row], F.normalize(expected, dim=0))


def spelled(runs: list[list[int]]) -> SpellingRetriever:
    """Return a retriever in training whose words have these runs of letters, of 7 vectors."""
    torch.manual_seed(0)
    offsets = torch.tensor([0, *map(len, runs)]).cumsum(0)
    rows = torch.tensor([row for own in runs for row in own])
    return SpellingRetriever(
        ["words"], vocab_size=len(runs), word_dim=WORD_DIM, num_grams=7, saturated=True, offsets=offsets, rows=rows
    )


def test_a_word_in_training_is_its_own_vector_plus_the_sum_of_those_of_its_runs_over_the_root_of_their_number():
    runs = [[], [1, 2, 2], [], [6], [0, 5, 3, 1]]
    model = spelled(runs)
    expected = [
        own + (model.gram_vectors[rows].sum(0) / len(rows) ** 0.5 if rows else 0.0)
        for own, rows in zip(model.word_vectors, runs, strict=True)
    ]
    for some in (torch.arange(len(runs)), torch.tensor([4, 0, 3, 3]), torch.tensor([2, 0])):
        vectors, weights = model.words(some)
        assert_close(vectors, torch.stack(expected)[some])
        assert_close(weights, model.log_weights[some].exp())


def test_a_finished_retriever_has_the_vectors_of_the_one_in_training():
    model = spelled([[number % 7, 3 * number % 7] for number in range(NUM_WORDS)])
    torch.nn.init.normal_(model.log_weights)
    ids = torch.randint(0, NUM_WORDS, (5, 12))
    num_tokens = torch.tensor([12, 9, 9, 4, 1])
    (tower,) = model([(ids, num_tokens, NO_DROPOUT)])
    finished = Retriever(["words"], vocab_size=NUM_WORDS, word_dim=WORD_DIM, num_grams=7, saturated=True)
    finished.load_state_dict(model.finished())
    assert_close(finished.blocks(ids, num_tokens)["words"], tower["words"])
    assert torch.equal(finished.gram_vectors, model.gram_vectors)


@pytest.mark.parametrize("blocks", [["words"], ["context", "words"]])
def test_new_words_are_spelled_and_as_long_and_heavy_as_rare_ones(blocks: list[str], architecture: Architecture):
    torch.manual_seed(0)
    encoder = AWDLSTM(architecture) if "context" in blocks else None
    model = Retriever(blocks, vocab_size=NUM_WORDS, word_dim=WORD_DIM, backbone=encoder, saturated=True, num_grams=7)
    torch.nn.init.normal_(model.log_weights)
    like = torch.tensor([70, 71, 75])
    larger = QueryRetriever(model, torch.tensor([1, 2, 2, 6]), torch.tensor([3, 1]), like)
    vectors, weights = larger.words(torch.tensor([5, NUM_WORDS + 1, 0, NUM_WORDS]))
    assert torch.equal(vectors[[0, 2]], model.word_vectors[[5, 0]])
    assert torch.equal(weights[[0, 2]], model.log_weights[[5, 0]].exp())
    for row, mean in ((1, model.gram_vectors[6]), (3, model.gram_vectors[[1, 2, 2]].mean(0))):
        assert_close(F.cosine_similarity(vectors[row], mean, dim=0), torch.tensor(1.0))
        assert_close(vectors[row].norm(), model.word_vectors[like].norm(dim=1).mean())
        assert_close(weights[row], model.log_weights[like].exp().mean())


def test_a_query_retriever_is_the_retriever_itself_but_for_new_words(architecture: Architecture):
    torch.manual_seed(0)
    shape = {"vocab_size": NUM_WORDS, "word_dim": WORD_DIM, "saturated": True, "num_grams": 7}
    model = Retriever(["context", "words"], backbone=AWDLSTM(architecture), **shape).eval()
    larger = QueryRetriever(model, torch.tensor([1, 2]), torch.tensor([2]), torch.tensor([79])).eval()
    known, unknown, new = (torch.tensor([[5, word, 9, 2]]) for word in (9, 0, NUM_WORDS))
    num_tokens = torch.tensor([4])
    assert torch.equal(larger.vectors(known, num_tokens, AS_TRAINED), model.vectors(known, num_tokens, AS_TRAINED))
    found, expected = larger.blocks(new, num_tokens), model.blocks(unknown, num_tokens)
    assert torch.equal(found["context"], expected["context"])
    assert not torch.allclose(found["words"], expected["words"])


def test_bags_have_the_distinct_words_of_each_text_and_how_often_they_stand_there():
    ids = torch.tensor([[7, 3, 7, 7, 0], [3, 5, 3, 7, 7], [0, 0, 9, 9, 9]])
    words, counts, offsets = bags_of_words(ids, torch.tensor([5, 3, 1]))
    assert words.tolist() == [0, 3, 7, 3, 5, 0]
    assert counts.tolist() == [1, 1, 3, 2, 1, 1]
    assert offsets.tolist() == [0, 3, 5]


def test_the_words_block_of_a_text_is_the_same_bits_beside_longer_ones_and_alone(architecture):
    model = Retriever(["words"], vocab_size=NUM_WORDS, word_dim=64, saturated=True)
    torch.nn.init.normal_(model.log_weights)
    ids, num_tokens = torch.randint(0, NUM_WORDS, (9, 400)), torch.tensor([400, 300, 77, 64, 33, 8, 3, 2, 1])
    together = model.blocks(ids, num_tokens)["words"]
    for row, length in enumerate(num_tokens.tolist()):
        alone = model.blocks(ids[row : row + 1, :length], num_tokens[row : row + 1])["words"][0]
        assert torch.equal(alone, together[row])


def test_blocks_under_dropout_equal_a_loop_with_each_texts_own_masks(retriever, texts, architecture):
    ids, num_tokens = texts
    masks = some_masks(architecture)
    (found,) = retriever([(ids, num_tokens, masks)])
    for row, length in enumerate(LENGTHS):
        expected = blocks_slowly(retriever, ids[row, :length], masks.rows(slice(row, row + 1)))
        assert_close(found["context"][row], expected["context"], rtol=1e-5, atol=1e-6)


def test_gradients_of_the_joint_vectors_are_those_of_the_loop(retriever, texts, architecture):
    ids, num_tokens = texts
    masks, coefficients = some_masks(architecture), torch.randn(len(LENGTHS), 6 + WORD_DIM)
    (tower,) = retriever([(ids, num_tokens, masks)])
    found = torch.autograd.grad((tower["joint"] * coefficients).sum(), list(retriever.parameters()))
    scale = retriever.log_context_scale.exp()
    rows = []
    for row, length in enumerate(LENGTHS):
        blocks = blocks_slowly(retriever, ids[row, :length], masks.rows(slice(row, row + 1)))
        rows.append(F.normalize(torch.cat([scale * blocks["context"], blocks["words"]]), dim=0))
    expected = torch.autograd.grad((torch.stack(rows) * coefficients).sum(), list(retriever.parameters()))
    for (name, _), gradient, reference in zip(retriever.named_parameters(), found, expected, strict=True):
        assert reference.abs().max() > 0, name
        assert_close(gradient, reference, rtol=1e-4, atol=1e-6)


def test_the_joint_vector_has_length_one_and_weighs_the_context_by_the_learned_scale(retriever, texts):
    (tower,) = retriever([(*texts, NO_DROPOUT)])
    assert retriever.log_context_scale.exp().item() == pytest.approx(INITIAL_SCALE)
    assert_close(tower["joint"].norm(dim=1), torch.ones(len(LENGTHS)))
    plain = torch.cat([INITIAL_SCALE * tower["context"], tower["words"]], 1)
    assert_close(tower["joint"], F.normalize(plain, dim=1))


def test_all_towers_go_through_one_call(retriever, texts):
    ids, num_tokens = texts
    other = (ids.flip(1)[:2], torch.tensor([9, 5]), NO_DROPOUT)
    first, second = retriever([(ids, num_tokens, NO_DROPOUT), other])
    assert_close(first["joint"], retriever.join(retriever.blocks(ids, num_tokens)))
    assert_close(second["joint"], retriever.join(retriever.blocks(*other[:2])))
    assert list(first) == ["context", "words", "joint"]


@pytest.mark.parametrize("name", ["context", "words"])
def test_a_retriever_of_one_block_gives_that_block_alone(name: str, architecture, retriever, texts):
    model = build([name], architecture)
    assert "log_context_scale" not in dict(model.named_parameters())
    assert (model.backbone is None) == (name == "words")
    (tower,) = model([(*texts, NO_DROPOUT)])
    assert list(tower) == [name]
    assert_close(model.join(tower), tower[name])
    assert_close(tower[name].norm(dim=1), torch.ones(len(LENGTHS)))


def test_words_beyond_the_encoders_vocabulary_have_word_vectors_and_weights_of_their_own(retriever):
    ids = torch.tensor([[60, 70], [0, 0]])
    blocks = retriever.blocks(ids, torch.tensor([2, 2]), Reading(pooling="mean"))
    assert_close(blocks["context"][0], blocks["context"][1])
    assert not torch.allclose(blocks["words"][0], blocks["words"][1])


def test_a_block_of_another_name_is_refused(architecture: Architecture):
    with pytest.raises(AssertionError, match="titles"):
        Retriever(["titles"], vocab_size=5)
    with pytest.raises(AssertionError):
        Retriever([], vocab_size=5)
