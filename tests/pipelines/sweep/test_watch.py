"""What is shown of a sweep; no Ray is started."""

import pytest

from ulmfit_ray.pipelines.sweep.watch import _Shown


def lines(shown: _Shown, capsys: pytest.CaptureFixture[str], *messages: dict[str, object]) -> list[str]:
    for message in messages:
        shown.show(message)
    return capsys.readouterr().out.splitlines()


def test_the_bar_counts_the_steps_of_all_settings_and_guesses_those_that_have_not_begun(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with _Shown("sweep", 4, lambda message: f"{message['ended']} finished") as shown:
        first = lines(shown, capsys, {"trial": "a", "steps": 1, "steps_left": 49, "tokens": 10})
        assert first == ["sweep: 1 of 200 steps, 10 tokens, 0 of 4 settings ended"]
        assert lines(shown, capsys, {"trial": "b", "steps": 10, "steps_left": 20, "tokens": 100}) == []
        assert lines(shown, capsys, {"ended": "b", "problem": "no luck"}) == ["1 of 4: b finished"]
    # Of b nothing more is to come: 50 + 10 steps of two settings, and as many of the other two.
    assert lines(shown, capsys)[-1].startswith("sweep: 11 of 120 steps, 110 tokens, 1 of 4 settings ended")


def test_a_setting_that_a_person_stopped_keeps_its_remaining_steps(capsys: pytest.CaptureFixture[str]) -> None:
    with _Shown("sweep", 1, lambda message: "a unfinished") as shown:
        shown.show({"trial": "a", "steps": 3, "steps_left": 7, "tokens": 10})
        shown.show({"ended": "a", "is_over": True, "problem": ""})
    assert capsys.readouterr().out.splitlines()[-1].startswith("sweep: 3 of 10 steps")


def test_settings_that_end_without_a_step_show_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with _Shown("sweep", 1, lambda message: "a finished") as shown:
        assert lines(shown, capsys, {"ended": "a", "is_over": True}) == ["1 of 1: a finished"]
    assert lines(shown, capsys) == []
