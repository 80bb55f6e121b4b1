"""A job's log on the terminal, its exit status, and what Ctrl-C does to it."""

import signal
import threading
from collections.abc import Callable
from typing import NoReturn

import pytest
from fake_client import FakeClient, info

from ulmfit_ray.pipelines.cluster import follow
from ulmfit_ray.pipelines.cluster.follow import Following, exit_status

RUNNING, DONE, STOPPED = info("RUNNING"), info("SUCCEEDED", 0), info("STOPPED")


def never(question: str) -> NoReturn:
    raise AssertionError("nobody is to be asked")


def answer(text: str) -> Callable[[str], str]:
    return lambda question: text


@pytest.mark.parametrize(
    "streams",
    [
        [["one\ntwo\n", "three\n"]],
        [["one\ntw", RuntimeError("closed")], ["one\ntwo\nth", "ree\n"]],
        [["one\n", RuntimeError("closed")], [OSError("refused")], ["one\ntwo\nthree\n"]],
        # Ray relays the end of a stream that broke behind its server like the end of a log.
        [["one\n"], ["one\ntwo\n"]],
        # A proxy that lets no stream through.
        [[OSError("refused")]],
    ],
)
def test_the_log_is_printed_once_however_often_its_stream_breaks(
    streams: list, capsys: pytest.CaptureFixture[str]
) -> None:
    client = FakeClient(streams, [*[RUNNING] * (len(streams) - 1), DONE], "one\ntwo\nthree\n")
    # A stream that breaks in the middle of the job has all that was written until then.
    logs = ["".join(piece for piece in stream if isinstance(piece, str)) for stream in streams[:-1]]
    client.get_job_logs = lambda job: logs.pop(0) if logs else client.log  # type: ignore[method-assign]
    assert Following(client, "job", None).run() is DONE
    assert capsys.readouterr().out == "one\ntwo\nthree\n"


def test_a_log_that_its_node_took_along_is_not_asked_for_without_end(capsys: pytest.CaptureFixture[str]) -> None:
    client = FakeClient([["one\n"]], [DONE])

    def gone(job: str) -> NoReturn:
        raise RuntimeError("the agent is gone")

    client.get_job_logs = gone  # type: ignore[method-assign]
    assert Following(client, "job", None).run() is DONE
    assert capsys.readouterr().out == "one\n"


def test_a_job_that_waits_says_what_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(follow, "SILENT_SECONDS", 0.01)
    pending = info("PENDING", message="It may be waiting for resources.")
    client = FakeClient([[signal.SIGCONT]], [pending, pending, DONE])
    assert Following(client, "job", None).run() is DONE
    assert capsys.readouterr().out == "waiting: It may be waiting for resources.\n" * 2


@pytest.mark.parametrize(
    ("ended", "status"),
    [
        *[(info("SUCCEEDED", 0), 0), (info("FAILED", 1), 1), (info("FAILED", 2), 2), (info("FAILED", 130), 130)],
        *[(info("FAILED", -9), 137), (info("FAILED"), None), (info("STOPPED"), None), (info("STOPPED", -15), None)],
    ],
)
def test_the_exit_status_is_that_of_the_jobs_own_process(ended: object, status: int | None) -> None:
    assert exit_status(ended) == status


@pytest.mark.parametrize("word", ["stop", "s", "STOP\n"])
def test_ctrl_c_and_stop_stops_the_job_and_follows_it_to_its_end(capsys: pytest.CaptureFixture[str], word: str) -> None:
    client = FakeClient([["one\n", signal.SIGINT], ["one\n", "checkpoint\n"]], [STOPPED], "one\ncheckpoint\n")
    assert Following(client, "job", answer(word)).run() is STOPPED
    assert client.stopped.is_set()
    assert capsys.readouterr().out == "one\ncheckpoint\n"


@pytest.mark.parametrize("word", ["leave", "l"])
def test_ctrl_c_and_leave_leaves_the_job_running_and_says_how_to_find_it(word: str) -> None:
    client = FakeClient([["one\n", signal.SIGINT]], [RUNNING])
    with pytest.raises(KeyboardInterrupt, match="job nr-7 goes on on the cluster\nray job logs nr-7"):
        Following(client, "nr-7", answer(word), "ray job logs nr-7").run()
    assert not client.stopped.is_set()


@pytest.mark.parametrize("word", ["", "\n", "what?", "f"])
def test_ctrl_c_and_anything_else_goes_on_following(capsys: pytest.CaptureFixture[str], word: str) -> None:
    client = FakeClient([["one\n", signal.SIGINT], ["one\n", "two\n"]], [DONE], "one\ntwo\n")
    assert Following(client, "job", answer(word)).run() is DONE
    assert not client.stopped.is_set()
    assert capsys.readouterr().out == "one\ntwo\n"


@pytest.mark.parametrize("second", [KeyboardInterrupt, EOFError])
def test_a_second_ctrl_c_or_the_end_of_the_input_leaves_the_job(second: type[BaseException]) -> None:
    def ask(question: str) -> NoReturn:
        raise second

    client = FakeClient([[signal.SIGINT]], [RUNNING])
    with pytest.raises(KeyboardInterrupt, match="goes on"):
        Following(client, "job", ask).run()
    assert not client.stopped.is_set()


def test_ctrl_c_while_the_job_is_being_stopped_leaves_it_at_that() -> None:
    client = FakeClient([[signal.SIGINT], [signal.SIGINT]], [RUNNING])

    def stop(job: str) -> bool:
        return True

    client.stop_job = stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt, match="job nr-7 is being stopped"):
        Following(client, "nr-7", answer("stop")).run()


@pytest.mark.parametrize(("number", "ask"), [(signal.SIGINT, None), (signal.SIGTERM, never)])
def test_where_nobody_can_be_asked_the_job_is_left_running(number: signal.Signals, ask: Callable | None) -> None:
    before = signal.getsignal(signal.SIGTERM)
    client = FakeClient([[number]], [RUNNING])
    with pytest.raises(KeyboardInterrupt, match="goes on"):
        Following(client, "job", ask).run()
    assert not client.stopped.is_set()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_job_that_cannot_be_stopped_is_followed_on(capsys: pytest.CaptureFixture[str]) -> None:
    client = FakeClient([["one\n", signal.SIGINT], ["one\n", "two\n"]], [DONE], "one\ntwo\n")

    def refuse(job: str) -> NoReturn:
        raise RuntimeError("Request failed with status code 500")

    client.stop_job = refuse  # type: ignore[method-assign]
    assert Following(client, "job", answer("stop")).run() is DONE
    said = capsys.readouterr()
    assert said.out == "one\ntwo\n"
    assert "the job is not stopped: Request failed with status code 500" in said.err


def test_a_server_that_was_away_for_a_while_is_asked_again(capsys: pytest.CaptureFixture[str]) -> None:
    client = FakeClient([["one\n", OSError("away")]], [OSError("away"), RuntimeError("status code 500"), DONE], "one\n")
    assert Following(client, "job", None).run() is DONE
    assert capsys.readouterr().err.count("waiting: the job server does not answer") == 2


def test_a_server_that_stays_away_is_not_asked_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "LOST_SECONDS", 0)
    with pytest.raises(ConnectionError, match=r"has not answered .*\(away\); the job may go on"):
        Following(FakeClient([[]], [OSError("away")]), "job", None).run()


def test_a_server_that_forgot_the_job_is_told_at_once() -> None:
    error = RuntimeError("Request failed with status code 404: Job nr-7 does not exist.")
    with pytest.raises(RuntimeError, match="does not know job nr-7 any more: its head was started anew"):
        Following(FakeClient([[]], [error]), "nr-7", None).run()


def test_a_server_that_takes_a_request_and_says_nothing_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "ANSWER_SECONDS", 0.01)
    monkeypatch.setattr(follow, "LOST_SECONDS", 0)
    silent = threading.Event()
    client = FakeClient([[]])
    client.get_job_info = lambda job: silent.wait()  # type: ignore[method-assign]
    with pytest.raises(ConnectionError, match=r"no answer within 0\.01 seconds"):
        Following(client, "job", None).run()
    silent.set()
