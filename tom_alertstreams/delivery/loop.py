"""The delivery loop: Kafka in, transactions out. One loop, one consumer, one thread.

A turn of the loop polls the broker, places partitions that were just assigned, handles one group of what is held, tries
what has waited long enough, and mirrors the offsets to Kafka.
"""

from __future__ import annotations

import logging
import operator
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from itertools import islice
from typing import TypeVar

from confluent_kafka import KafkaException
from django.utils import timezone

from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import (
    BrokerUnavailable,
    FuseBlown,
    PartitionLost,
    StreamStopped,
    TransientError,
    describe,
)
from tom_alertstreams.logs import get_logger
from tom_alertstreams.models import Installation
from tom_alertstreams.signals import turned

from .broker_errors import ErrorMemory
from .failures import Meaning, heal_connection, judge, public_text_of, text_of, unavailable
from .fuse import FINISHED_HALF_OPEN, Fuse
from .hourly import Hourly
from .intake import Intake
from .ledger import Ledger
from .offsets import Offsets, Progress, begin_keys
from .preparing import Preparer
from .runner import Runner
from .runs import RunRecord, State, Status, fuse_is_blown
from .source import AlertSource, Binding, Control, handlers_of
from .waiting import WaitingAlerts
from .watchdog import longest_silence_s

logger = get_logger(__name__)

T = TypeVar("T")

#: Longest blocking poll, so that a request to stop is heard.
_POLL_S = 0.5
_HOUSEKEEPING_EVERY_S = 3600.0
_MIRROR_EVERY_S, _WAITING_EVERY_S, _LAG_EVERY_S, _PROBE_EVERY_S, _TOPICS_EVERY_S = 1.0, 1.0, 10.0, 5.0, 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
#: With --once a broker that does not answer for so long is a failure, not something to wait for.
_ONCE_PATIENCE_S = 60.0


class DeliveryLoop:
    """Reads one stream until it is told to stop (or, with ``once``, until the end of what is there)."""

    def __init__(self, source: AlertSource, control: Control, status: Status | None = None) -> None:
        self.source = source
        self.control = control
        self.status = status or Status(source.settings.label)
        self._settings = source.settings.delivery
        self._errors = ErrorMemory(self.status)
        self._hourly = Hourly(source, self._errors)
        self._waits_until = 0.0
        self._pause_s = _FIRST_PAUSE_S
        #: Who hears of each turn has failed, and is not told of those of a pause until then.
        self._silent_until = 0.0
        self._began = time.monotonic()
        #: Partitions were given to us in this life, be it none of few; and before: whether the broker has topics for us.
        self._placed = False
        self._has_topics = True
        # Most streams have their partitions before anybody needs to ask.
        self._done_at: dict[str, float] = {} if control.once else {"topics": self._began}

    # --- life ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Deliver until told to stop.

        :raises AuthenticationFailed: the broker refuses us; the supervisor tries again later.
        :raises BrokerUnavailable: with ``once``, the broker does not answer.
        """
        self._record = RunRecord(self.source.settings, self.source.group_id, self.status)
        self._record.beat(force=True)
        with ExitStack() as at_the_end:
            at_the_end.callback(self._record.end)
            try:
                self._live(at_the_end)
            except StreamStopped as error:
                self._say(State(error.state), public_text_of(error), text_of(error))
                raise
            except BaseException as error:  # also what is made to end a program: the row must not say that it runs
                self._say(State.DOWN, public_text_of(error), f"{type(error).__name__}: {text_of(error)}")
                raise

    def _live(self, at_the_end: ExitStack) -> None:
        """:param at_the_end: takes what is to be closed, however this ends."""
        self._preparer = Preparer(self.source.settings.label)
        at_the_end.callback(self._preparer.close)
        self._intake = Intake(self.source, self._errors, self.status, note_ends=self.control.once)
        at_the_end.callback(self._intake.close)
        at_the_end.callback(turned.send_robust, type(self.source), source=self.source, ending=True)
        if self._open():
            while not self._finished():
                self._turn()
            self._note_lags()
            self._intake.mirror(wait=True)
        if self.control.stopping.is_set():
            self._say(State.STOPPED, "asked to stop")
        else:
            self._say(State.STOPPED, FINISHED_HALF_OPEN if self._fuse.half_open else "finished")

    def _open(self) -> bool:
        """Everything that must be known before the first alert; False if we were told to stop meanwhile."""
        source, intake = self.source, self._intake
        cluster = self._patiently(intake.cluster_id)
        installation = self._patiently(lambda: str(Installation.current().id))
        half_open = self._patiently(lambda: fuse_is_blown(source.settings.label, source.group_id))
        if cluster is None or installation is None or half_open is None:
            return False
        half_open = half_open and self._settings.has_fuse
        self.status.fuse_blown = half_open
        if half_open:
            label = source.settings.label
            logger.warning("%s: its fuse had blown; it begins with one alert at a time", label, extra={"stream": label})
        offsets = Offsets(cluster, source.group_id)
        starts = {topic.key: topic.delivery.start or source.start for topic in source.settings.topics}
        if self._patiently(lambda: begin_keys(offsets, intake.consumer, source.topic_keys, starts)) is None:
            return False
        self._ledger = ledger = Ledger(source.settings.label, cluster, source.group_id, self.status.tally)
        self._waiting = WaitingAlerts(source, cluster, longest_silence_s(source.settings))
        self._fuse = Fuse(source.settings.label, self._settings, half_open=half_open)

        def runner(progress: Progress) -> Runner:
            stopping = self.control.stopping.is_set
            return Runner(source, progress, ledger, self._preparer, self._fuse, self.status, stopping)

        self._runner, self._second_tries = runner(offsets), runner(self._waiting)
        intake.subscribe(offsets, installation)
        return True

    def _patiently(self, action: Callable[[], T]) -> T | None:
        """The result of something that needs the broker or the database, waiting for either; None if told to stop."""
        pause_s = _FIRST_PAUSE_S
        while not self.control.stopping.is_set():
            try:
                return action()
            except Exception as error:  # noqa: BLE001  (judged in the next line)
                away = self._judged(error)
            self._intake.consumer.poll(0)  # serves error_cb, which hears of a wrong password
            self._errors.raise_refusal()
            self._wait(away)
            if self.control.once and time.monotonic() - self._began > _ONCE_PATIENCE_S:
                raise BrokerUnavailable(
                    public_text_of(away), details=getattr(away, "details", ""), stream=self.source.settings.label
                )
            over = time.monotonic() + pause_s
            while (left := over - time.monotonic()) > 0 and not self.control.stopping.wait(min(left, _POLL_S)):
                self._turn_waiting()
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return None

    def _wait(self, away: TransientError) -> None:
        self._say(State.WAITING, public_text_of(away), text_of(away))

    def _say(self, state: State, reason: str = "", whole: str = "") -> None:
        if self.status.say(state, reason, whole) and reason:
            logger.log(
                logging.INFO if state is State.STOPPED else logging.WARNING,
                "%s: %s", self.source.settings.label, whole or reason, extra={"stream": self.source.settings.label},
            )  # fmt: skip
        self._record.beat()

    # --- a turn ----------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self.status.moved_at = time.monotonic()
        self._poll()
        self._errors.raise_refusal()
        if time.monotonic() < self._waits_until or self._broker_is_down():
            self._turn_waiting()
            return
        try:
            if self._intake.place():
                self.status.connected = self._placed = True
                label, partitions = self.status.label, len(self._intake.assigned)
                logger.info("%s reads %d partitions", label, partitions, extra={"stream": label})
            if self._is_due("housekeeping", _HOUSEKEEPING_EVERY_S):
                self._hourly.begin()
            self._hourly.go_on()
            turned.send(type(self.source), source=self.source, ending=False)
            self._work()
            self._try_waiting()
            if self._is_due("mirror", _MIRROR_EVERY_S):
                self._intake.mirror()
            if self._is_due("lag", _LAG_EVERY_S):
                self._note_lags()
            if not self._placed and self._is_due("topics", _TOPICS_EVERY_S):
                self._has_topics = self._intake.has_topics()
        except PartitionLost as lost:
            self._step_back(lost)
        except Exception as error:  # noqa: BLE001  (judged in the next line)
            self._pause(self._judged(error))
        else:
            self._pause_s = _FIRST_PAUSE_S
            self._say_that_it_goes_on()
        self._record.beat()

    def _say_that_it_goes_on(self) -> None:
        if self._placed:
            self._say(State.RUNNING)
        elif self._has_topics:
            self._say(State.STARTING)
        else:
            # librdkafka gives nothing to a member whose topics do not exist, not even an empty assignment.
            self._say(
                State.NO_TOPIC, f"its broker has no topic for its keys: {', '.join(sorted(self.source.bindings))}"
            )

    def _turn_waiting(self) -> None:
        """What must not wait for alerts goes on. Where it fails, as without the database, it is left alone for a while."""
        if time.monotonic() < self._silent_until:
            return
        try:
            turned.send(type(self.source), source=self.source, ending=False)
        except Exception as error:  # noqa: BLE001  (judged in the next line)
            self._judged(error)
            self._silent_until = time.monotonic() + _LONGEST_PAUSE_S

    def _poll(self) -> None:
        """Fetch; while alerts are held or something is away, only keep our place in the group."""
        away_s = max(0.0, self._waits_until - time.monotonic())
        busy = self._intake.busy
        fetch = not away_s and self._intake.wants_more
        if not fetch and not away_s and self._intake.polled_lately:
            return
        self._intake.poll(min(_POLL_S, away_s) if away_s else 0.0 if busy else _POLL_S, fetch=fetch)

    def _note_lags(self) -> None:
        """Where each of our topics goes to, and how far it is behind."""
        self.status.lags = self._intake.lags()
        self.status.handlers = handlers_of(self.source, {topic for topic, _ in self._intake.assigned})

    def _broker_is_down(self) -> bool:
        """No broker answers. librdkafka goes on trying by itself; we only say so until one answers again."""
        if not self._errors.all_brokers_down or self._intake.busy:
            return False
        if self._is_due("probe", _PROBE_EVERY_S):
            try:
                self._intake.consumer.list_topics(timeout=1.0)
            except KafkaException:
                self._say(State.WAITING, "no broker answers; the stream waits and goes on by itself")
            else:
                self._errors.all_brokers_down = False
        return self._errors.all_brokers_down

    def _work(self) -> None:
        """Handle one group of each handler's alerts."""
        for key, alerts in list(self._intake.held.items()):
            if not alerts or self.control.stopping.is_set():
                continue
            binding = self.source.bindings.get(key) if key is not None else None
            group = self._group(binding, alerts)
            granted = self.control.reserve(len(group))
            if not granted:  # other streams have the last of --max-alerts in hand
                self.control.stopping.wait(_POLL_S)
                return
            finished = 0
            try:
                if binding is not None and granted == len(group) and not self._fuse.half_open:
                    self._preparer.begin(binding, group, self._following(binding, alerts, len(group)))
                finished = self._runner.handle(binding, group[:granted])
            except FuseBlown:
                self.status.fuse_blown = True
                raise
            finally:
                self.control.settle(granted, finished)
                for _ in range(finished):  # callbacks run only inside poll: the queue is as it was
                    alerts.popleft()
                for index in range(granted - finished):  # a call that was rolled back may have changed what it got
                    alerts[index] = alerts[index].fresh()
            self.status.fuse_blown = self._fuse.half_open
            self.control.stopping.wait(self._runner.lock_pause_s())

    def _group(self, binding: Binding | None, alerts: deque[Alert]) -> list[Alert]:
        """The alerts that are next: the group that was prepared ahead, where it is what comes first still."""
        if self._fuse.half_open:
            return [alerts[0]]
        if binding is None:
            return self._intake.group(binding, alerts)
        prepared = self._preparer.next_group(binding)
        if prepared and len(prepared) <= len(alerts) and all(map(operator.is_, prepared, alerts)):
            return list(prepared)
        return self._intake.group(binding, alerts, self._runner.batch_limit(binding))

    def _following(self, binding: Binding, alerts: deque[Alert], first: int) -> list[Alert]:
        """The group after the first alerts; nothing where it is small still, for more may come meanwhile."""
        if not binding.handler.ahead:
            return []
        group = self._intake.group(binding, islice(alerts, first, None), self._runner.batch_limit(binding))
        return group if 2 * len(group) >= first else []

    def _try_waiting(self) -> None:
        """Try alerts again that have waited long enough."""
        if not self._is_due("waiting", _WAITING_EVERY_S) or self.control.stopping.is_set() or self.control.exhausted:
            return
        if self._fuse.half_open:  # a second try that fails may become a dead letter
            return
        by_key: dict[str | None, deque[Alert]] = {}
        for alert in self._waiting.claim(self._settings.batch_size):
            by_key.setdefault(self.source.topic_keys.match(alert.topic), deque()).append(alert)
        try:
            for key, alerts in by_key.items():
                self._try_again(self.source.bindings.get(key) if key is not None else None, alerts)
        finally:
            self._waiting.release()

    def _try_again(self, binding: Binding | None, alerts: deque[Alert]) -> None:
        """In groups as at the first try, for BATCH_SECONDS; what is left is claimed again."""
        deadline = time.monotonic() + self._settings.batch_seconds
        limit = self._second_tries.batch_limit(binding) if binding is not None else None
        while alerts and not self.control.stopping.is_set():
            group = self._intake.group(binding, alerts, limit)
            finished = self._second_tries.handle(binding, group)
            self.control.stopping.wait(self._second_tries.lock_pause_s())
            if finished < len(group) or time.monotonic() >= deadline:
                return
            for _ in group:
                alerts.popleft()

    # --- trouble ---------------------------------------------------------------------------------------------------

    def _judged(self, error: Exception) -> TransientError:
        """What to wait for, if the error means that something outside is away; else it ends this life of the stream."""
        if isinstance(error, KafkaException):
            self._intake.judge(error.args[0])
            return BrokerUnavailable(f"waiting for the broker: {error.args[0].str()}")
        # A lock, too: no handler's, or its alert would have been judged. What is locked are our own rows.
        if judge(error) not in (Meaning.AWAY, Meaning.CONTENTION):
            raise error
        heal_connection()
        return error if isinstance(error, TransientError) else unavailable(error)

    def _pause(self, away: TransientError) -> None:
        """Handle nothing for a while, but keep our place in the group."""
        self._wait(away)
        self._waits_until = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def _step_back(self, lost: PartitionLost) -> None:
        """Another consumer, or a commit whose answer we never got, has moved a partition."""
        extra = {**describe(lost), "stream": self.status.label}
        logger.warning("%s: %s; reading again where the database says", self.status.label, lost, extra=extra)
        self._intake.step_back()

    # --- the end ---------------------------------------------------------------------------------------------------

    def _finished(self) -> bool:
        if self.control.stopping.is_set() or self.control.exhausted:
            return True
        if not self.control.once or self._intake.busy or time.monotonic() < self._waits_until:
            return False
        if not self._errors.all_brokers_down and self._at_end():
            horizon = timezone.now() + timedelta(seconds=self._settings.retry.max_wait_s)
            try:  # half-open nothing that waits is tried, so there is nothing to stay for
                comes = not self._fuse.half_open and self._waiting.due_before(horizon)
            except Exception as error:  # noqa: BLE001  (judged in the next line)
                self._pause(self._judged(error))
                return False
            return self._hourly.is_done and not comes
        if self.status.connected and not self._errors.all_brokers_down:
            return False
        if time.monotonic() - self._began > _ONCE_PATIENCE_S:
            raise BrokerUnavailable(
                stream=self.status.label, hint="Check its address, and that the port is open to you."
            )
        return False

    def _at_end(self) -> bool:
        if self.status.connected:
            return self._intake.at_end()
        return not self._has_topics

    def _is_due(self, what: str, every_s: float) -> bool:
        now = time.monotonic()
        if now - self._done_at.get(what, float("-inf")) < every_s:
            return False
        self._done_at[what] = now
        return True
