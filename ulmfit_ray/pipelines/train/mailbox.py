"""What driver and workers say to each other while a training runs: progress one way, "stop" the other way.

A small actor on the driver's node, so that no other node can take it along when it is lost. Losing it never fails a
training: progress is lost then, and nothing else.
"""

import logging
import time
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

logger = logging.getLogger(__name__)
ANSWER_SECONDS = 10
QUESTION_SECONDS = 0.5
"""A call takes about a millisecond, a small model's step 80: it is not made at every step."""
Message = dict[str, Any]


class _MailboxActor:
    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._is_stop_asked = False

    def put(self, message: Message) -> None:
        self._messages.append(message)

    def take(self) -> list[Message]:
        messages, self._messages = self._messages, []
        return messages

    def ask_to_stop(self) -> None:
        self._is_stop_asked = True

    def is_stop_asked(self) -> bool:
        return self._is_stop_asked


class Mailbox:
    """A handle that driver and workers hold; every method survives the loss of the actor."""

    def __init__(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor: Any = ray.remote(_MailboxActor)
        self._actor = actor.options(num_cpus=0, scheduling_strategy=here).remote()
        self._question: Any = None
        self._asked_at = 0.0

    def put(self, message: Message) -> None:
        """Send a message, and do not wait for its arrival."""
        self._actor.put.remote(message)

    def take(self) -> list[Message]:
        """Return the messages that have come since the last call."""
        messages: list[Message] = self._ask(self._actor.take.remote(), [])
        return messages

    def ask_to_stop(self) -> None:
        """Ask the workers to finish their step, write a checkpoint and end."""
        self._actor.ask_to_stop.remote()

    def is_stop_asked(self) -> bool:
        """Tell whether `ask_to_stop` was called, as of the last call of this method: it never waits for an answer."""
        if self._question is not None:
            answered, _ = ray.wait([self._question], timeout=0)
            if not answered:
                return False
            asked, self._question = self._ask(self._question, False) is True, None
            return asked
        if time.monotonic() - self._asked_at > QUESTION_SECONDS:
            self._asked_at = time.monotonic()
            self._question = self._actor.is_stop_asked.remote()
        return False

    def close(self) -> None:
        """End the actor."""
        ray.kill(self._actor)

    def __reduce__(self) -> Any:
        # A question that is under way belongs to the process that asked it.
        return _rebuilt, (self._actor,)

    def _ask(self, answer: Any, otherwise: Any) -> Any:
        try:
            return ray.get(answer, timeout=ANSWER_SECONDS)
        except RayError as error:
            logger.warning("the mailbox of this training is lost: %s", type(error).__name__)
            return otherwise


def _rebuilt(actor: Any) -> Mailbox:
    mailbox = Mailbox.__new__(Mailbox)
    mailbox._actor, mailbox._question, mailbox._asked_at = actor, None, 0.0
    return mailbox
