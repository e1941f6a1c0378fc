"""Delivery as a state machine: whatever happens in whatever order, every alert ends exactly once.

The real loop with all its parts runs turn by turn on a broker in memory and a virtual clock. After every step the tables
are compared with what was promised; at the end of each example all faults end, and everything has to.

EXAMPLES=5000 looks longer, at other examples each time; what fails is printed with a blob for
``@reproduce_failure``. Not modelled: two transactions at the same time (processes take turns, also between two
transactions of one another), ``prepare``, gaps in the log, replay, and 1.x ``listen()``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.faults.model.fates import FATES, WORDS, Words
from tests.faults.model.faults import Fault, Place
from tests.faults.model.kafka import Partition
from tests.faults.model.world import PARTITIONS, PROCESSES, Setup, World
from tests.marks import CORE_TABLES

EXAMPLES = int(os.environ.get("EXAMPLES", "0"))

pytestmark = [
    CORE_TABLES,
    pytest.mark.long,
]

_SETTINGS = settings(
    max_examples=EXAMPLES or 12,
    stateful_step_count=20,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
    # Making a finding smaller takes minutes, for which CI has no time.
    phases=(Phase.explicit, Phase.reuse, Phase.generate, *((Phase.shrink,) if EXAMPLES else ())),
)

#: The ways of being called; ``answers`` is another handler of lists.
STYLES = ("one", "each", "many")

#: What alerts meet, call by call: a third of them nothing. One draw for each, for they are many.
_fates = st.one_of(
    *[st.sampled_from(FATES)] * 4,
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(lambda words: (*words, "at first")),
)
_processes = st.integers(0, PROCESSES - 1)
#: Which process, after what pause, and how many messages have arrived for it.
_turns = st.lists(
    st.tuples(_processes, st.sampled_from([0.0, 1.0, 2.0, 5.0, 30.0]), st.sampled_from([2, 6, 9])),
    min_size=1,
    max_size=5,
)
Turns = list[tuple[int, float, int]]


@st.composite
def _faults(draw: st.DrawFn) -> Fault:
    place: Place = draw(st.sampled_from(("statement", "commit", "call", "open", "open again")))
    after = place in ("statement", "commit") and draw(st.booleans())
    kinds = ["away", "away", "busy", *{"commit": ["constraint"], "call": ["service"] * 3}.get(place, [])]
    if after:  # of what has taken effect only the answer can be lost
        kinds = ["away"]
    countdown = draw(st.integers(0, {"statement": 20, "commit": 5, "call": 8, "open": 8, "open again": 2}[place]))
    return Fault(place, draw(st.sampled_from(kinds)), after, countdown, times=draw(st.integers(1, 4)))


class Delivery(RuleBasedStateMachine):
    """Two processes of one consumer group, three partitions of two topics, one database."""

    style: ClassVar[str]
    #: Histories whose books were balanced at their end.
    balanced: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.world: World
        self._stack = ExitStack()

    @initialize(
        alerts=st.fixed_dictionaries(
            {partition: st.lists(_fates, min_size=5, max_size=15) for partition in PARTITIONS}
        ),
        other=st.sampled_from((*STYLES, "answers")),
        batch_size=st.sampled_from([8, 5, 4, 3]),
        fuse=st.sampled_from([0, 0, 0, 3]),
        on_error=st.sampled_from(["dead_letter", "dead_letter", "reject"]),
        outside=st.sampled_from([False, False, True]),
        mended=st.sampled_from([True, True, True, False]),
    )
    def begin(self, alerts: Mapping[Partition, list[Words]], other: str, **setup: Any) -> None:
        self.world = World(Setup({"a": self.style, "b": other}, **setup))
        self._stack.enter_context(self.world.installed())
        for partition, fates in alerts.items():
            self.world.produce(partition, fates)
        for _ in range(PROCESSES):
            self.world.start()

    @rule(
        partition=st.sampled_from(PARTITIONS),
        alerts=st.lists(_fates, min_size=5, max_size=12),
        turns=_turns,
    )
    def produce(self, partition: Partition, alerts: list[Words], turns: Turns) -> None:
        self.world.produce(partition, alerts)
        self.go_on(turns)

    @rule(faults=st.lists(_faults(), min_size=1, max_size=3), silent=st.sampled_from([0, 0, 1, 3]), turns=_turns)
    def trouble(self, faults: list[Fault], silent: int, turns: Turns) -> None:
        self.world.faults.armed += faults
        self.world.kafka.silent = silent
        self.go_on(turns)

    @rule(number=_processes, arriving=st.integers(0, 12), late=st.booleans(), turns=_turns)
    def slowly(self, number: int, arriving: int, late: bool, turns: Turns) -> None:
        """Not all messages have arrived; news of the group come between two of them."""
        self.world.turn(number, arriving=arriving, late=late)
        self.go_on(turns)

    @rule(
        what=st.sampled_from(["revoke", "lost", "revoke", "lost", "kill", "stop"]),
        owners=st.fixed_dictionaries(
            {partition: st.sampled_from([0, 1, 0, 1, 0, 1, None]) for partition in PARTITIONS}
        ),
        polls=st.lists(st.sampled_from([0, 0, 1, 3]), min_size=PROCESSES, max_size=PROCESSES),
        points=st.integers(0, 60),
        turns=_turns,
    )
    def group(
        self, what: str, owners: dict[Partition, int | None], polls: list[int], points: int, turns: Turns
    ) -> None:
        """The group changes: a rebalance, or a process that is killed or asked to stop, and replaced.

        :param owners: who gets what; None is nobody for now.
        :param polls: after so many the processes hear of it.
        :param points: where a process can be killed: it passes so many of them.
        """
        number, _, _ = turns[0]
        if what == "kill":
            self.world.turn(number, dies_after=points)
        elif what == "stop":
            self.world.stop_one(number)
            self.world.turn(number)
        else:
            self.world.rebalance(owners, what, polls)
        while len(self.world.living) < PROCESSES:
            self.world.start()
        self.go_on(turns)

    def go_on(self, turns: Turns) -> None:
        """Turns of these processes."""
        for number, pause_s, arriving in turns:
            self.world.clock.wait(pause_s)
            self.world.turn(number, arriving=arriving)

    @invariant()
    def every_alert_ends_once(self) -> None:
        if hasattr(self, "world"):
            self.world.check()

    def teardown(self) -> None:
        with self._stack:
            if hasattr(self, "world"):
                self.world.drain()
                type(self).balanced += 1


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What thousands of failures would log takes longer than they do."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.timeout(0 if EXAMPLES else 120)
@pytest.mark.parametrize("style", STYLES)
def test_every_alert_ends_once(style: str) -> None:
    machine = type(f"Delivery_{style}", (Delivery,), {"style": style})
    run_state_machine_as_test(machine, settings=_SETTINGS)
    assert machine.balanced > 0
