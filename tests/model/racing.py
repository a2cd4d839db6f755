"""Several at once: threads begin together, and what they were told must be what the model says in some order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from threading import Barrier, Thread

from oracle_values import key

from model.state import Action, Model, Outcome, acted


def raced(calls: Sequence[Callable[[], Outcome]]) -> list[Outcome]:
    """What each call answers when all begin together; what one raises is raised here."""
    start = Barrier(len(calls))
    answers: dict[int, Outcome] = {}
    raised: list[BaseException] = []

    def run(number: int) -> None:
        start.wait()
        try:
            answers[number] = calls[number]()
        except BaseException as error:
            raised.append(error)

    threads = [Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]
    return [answers[number] for number in range(len(calls))]


def order_of(model: Model, actions: Sequence[Action], told: Sequence[Outcome]) -> tuple[int, ...]:
    """An order of the actions in which the model answers each as the store did; AssertionError if there is none."""
    for order in permutations(range(len(actions))):
        now = model
        for number in order:
            now, outcome = acted(now, actions[number])
            if key(outcome) != key(told[number]):
                break
        else:
            return order
    raise AssertionError(f"in no order are {actions!r} answered {told!r}")
