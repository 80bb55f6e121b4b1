"""What is chosen by the size of the corpus when nobody says it."""

import pytest

from ulmfit_ray.training.config import LanguageModelTraining


@pytest.mark.parametrize(
    ("num_tokens", "epochs", "batch", "bptt"),
    [
        (150_000, 8, 20, 50),
        (230_000, 5, 20, 50),
        (1_400_000, 1, 20, 50),
        (9_999_999, 1, 20, 50),
        (10_000_000, 1, 64, 72),
        (10_000_000_000, 1, 64, 72),
        (0, 8, 20, 50),
    ],
)
def test_a_small_corpus_gets_small_steps_and_enough_of_them(
    num_tokens: int, epochs: int, batch: int, bptt: int
) -> None:
    chosen = LanguageModelTraining().chosen_for(num_tokens)
    assert (chosen.num_epochs, chosen.global_batch_size, chosen.bptt) == (epochs, batch, bptt)


def test_what_somebody_says_stays() -> None:
    said = LanguageModelTraining(num_epochs=3, global_batch_size=7, bptt=5, learning_rate=0.5)
    assert said.chosen_for(100) == said
    assert LanguageModelTraining(global_batch_size=2, bptt=10).chosen_for(24_000).num_epochs == 1
