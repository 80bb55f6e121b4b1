import pytest

from ulmfit_ray.training.config import ClassifierTraining, FinetuneTraining, TrainingConfig
from ulmfit_ray.training.stages import Stage, stages_of

ALL = range(4)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [Stage(0, 7, ALL, 0.1)]),
        ({"unfreeze": (1, 0)}, [Stage(0, 1, range(3, 4), 0.1), Stage(1, 6, ALL, 0.1)]),
        ({"unfreeze": (1, 0), "stage_epochs": (3,)}, [Stage(0, 3, range(3, 4), 0.1), Stage(3, 4, ALL, 0.1)]),
        ({"unfreeze": (1, 0), "stage_epochs": (3, 4)}, [Stage(0, 3, range(3, 4), 0.1), Stage(3, 4, ALL, 0.1)]),
        (
            {"unfreeze": (1, 2, 3, 0), "stage_epochs": (1, 1, 2), "stage_rates": (0.4, 0.3, 0.2, 0.05)},
            [
                Stage(0, 1, range(3, 4), 0.4),
                Stage(1, 1, range(2, 4), 0.3),
                Stage(2, 2, range(1, 4), 0.2),
                Stage(4, 3, ALL, 0.05),
            ],
        ),
        ({"unfreeze": (1,)}, [Stage(0, 7, range(3, 4), 0.1)]),
        ({"unfreeze": (1, 0), "stage_rates": (0.3,)}, [Stage(0, 1, range(3, 4), 0.3), Stage(1, 6, ALL, 0.3)]),
    ],
)
def test_stages_follow_a_table_worked_out_by_hand(options: dict, expected: list[Stage]):
    assert stages_of(TrainingConfig(num_epochs=7, learning_rate=0.1, **options), 4) == expected


def test_chain_thaw_trains_the_last_group_then_each_alone_from_the_first_then_all():
    stages = stages_of(TrainingConfig(num_epochs=7, chain_thaw=True), 4)
    assert [list(stage.groups) for stage in stages] == [[3], [0], [1], [2], [0, 1, 2, 3]]
    assert [(stage.first_epoch, stage.num_epochs) for stage in stages] == [(0, 1), (1, 1), (2, 1), (3, 1), (4, 3)]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"unfreeze": (1, 2, 0), "num_epochs": 2}, r"num-epochs 2 is too few for 3 stages: .* take 2 "),
        ({"unfreeze": (5, 0)}, r"unfreeze 5: the model has 4 layer groups"),
        ({"unfreeze": (1, 0), "stage_epochs": (1, 1, 1)}, r"stage-epochs has 3 numbers for 2 stages"),
        ({"unfreeze": (1, 0), "stage_epochs": (1, 5)}, r"stage-epochs add up to 6, but .*num-epochs is 7"),
        ({"unfreeze": (1, 2, 0), "stage_rates": (0.1, 0.2)}, r"stage-rates has 2 rates for 3 stages"),
    ],
)
def test_stages_that_do_not_fit_the_model_or_the_epochs_are_refused(options: dict, problem: str):
    with pytest.raises(ValueError, match=problem):
        stages_of(TrainingConfig(**{"num_epochs": 7} | options), 4)


@pytest.mark.parametrize(
    "options",
    [
        {"unfreeze": ()},
        {"unfreeze": (-1,)},
        {"stage_epochs": (0,)},
        {"stage_rates": (0.0,)},
        {"chain_thaw": True, "unfreeze": (1, 0)},
    ],
)
def test_stages_that_mean_nothing_are_refused(options: dict):
    with pytest.raises(ValueError, match=r"^training\."):
        TrainingConfig(**options)


def test_fine_tuning_has_enough_epochs_for_its_stages_unless_they_were_given():
    assert FinetuneTraining().chosen_for(100_000_000).num_epochs == 2
    assert FinetuneTraining(unfreeze=(1, 2, 0), stage_epochs=(2, 1)).chosen_for(100_000_000).num_epochs == 4
    assert FinetuneTraining(num_epochs=1).chosen_for(100_000_000).num_epochs == 1


def test_a_classifier_of_few_labels_makes_300_steps_unless_its_epochs_were_given():
    open_ended = ClassifierTraining(num_epochs=0, global_batch_size=64)
    chosen = [open_ended.chosen_for(count, 5) for count in (100, 1_000, 25_000)]
    assert [(*found.stage_epochs, found.num_epochs) for found in chosen] == [
        (38, 38, 38, 150),
        (5, 5, 5, 19),
        (1, 1, 1, 5),
    ]
    assert all(len(stages_of(found, 5)) == 4 for found in chosen)
    at_once = ClassifierTraining(num_epochs=0, unfreeze=(0,)).chosen_for(25_000, 5)
    assert (at_once.num_epochs, at_once.stage_epochs) == (2, ())
    assert ClassifierTraining(num_epochs=0, stage_epochs=(1, 2, 3, 4)).chosen_for(100, 5).num_epochs == 10
    assert ClassifierTraining(num_epochs=0, stage_epochs=(1, 2, 3)).chosen_for(100, 5).num_epochs == 150
    given = ClassifierTraining(num_epochs=7).chosen_for(100, 5)
    assert (given.num_epochs, given.stage_epochs) == (7, ())


def test_a_classifiers_rates_follow_the_one_that_is_given_and_all_stages_can_be_chosen_by_one_option():
    gradual = ClassifierTraining(learning_rate=4e-2).chosen_for(25_000, 5)
    assert [stage.learning_rate for stage in stages_of(gradual, 5)] == [4e-2, 2e-2, 1e-2, 2e-3]
    recipe = ClassifierTraining().chosen_for(25_000, 5)
    assert [stage.learning_rate for stage in stages_of(recipe, 5)] == [2e-2, 1e-2, 5e-3, 1e-3]
    said = ClassifierTraining(stage_rates=(4.0, 3.0, 2.0, 1.0)).chosen_for(25_000, 5)
    assert [stage.learning_rate for stage in stages_of(said, 5)] == [4, 3, 2, 1]
    alike = ClassifierTraining(stage_rates=(4e-3,)).chosen_for(25_000, 5)
    assert [stage.learning_rate for stage in stages_of(alike, 5)] == [4e-3] * 4
    at_once = ClassifierTraining(unfreeze=(0,), learning_rate=3e-3).chosen_for(25_000, 5)
    assert [stage.learning_rate for stage in stages_of(at_once, 5)] == [3e-3]
    thawed = ClassifierTraining(chain_thaw=True, num_epochs=0).chosen_for(25_000, 5)
    assert [list(stage.groups) for stage in stages_of(thawed, 5)] == [[4], [0], [1], [2], [3], [0, 1, 2, 3, 4]]
    assert {stage.learning_rate for stage in stages_of(thawed, 5)} == {2e-2}
