"""What the core remembers: positions, dead letters, lives of streams, counts."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone


class StreamPartition(models.Model):
    """How far one consumer group has come in one partition. The truth about delivery: Kafka's offset is a mirror of it.

    The row is moved only by the transaction that holds the effect of the alerts it passes, and only from the value
    that transaction expects (compare-and-set), so that of two consumers that both believe to own the partition
    one rolls back.
    """

    #: The id the broker reports. Topics of one name exist on several clusters.
    cluster = models.CharField(max_length=64)
    group_id = models.CharField(max_length=255)
    topic = models.CharField(max_length=249)
    partition = models.IntegerField()
    #: The offset of the next alert to handle.
    next_offset = models.BigIntegerField()
    #: What the broker calls this incarnation of the topic; empty where it does not tell.
    topic_id = models.CharField(max_length=64, blank=True)
    last_alert_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["cluster", "group_id", "topic", "partition"], name="alertstreams_partition_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.group_id}: {self.topic}[{self.partition}]@{self.next_offset}"


class SubscribedKey(models.Model):
    """One key of TOPIC_HANDLERS that a consumer group has started with.

    START applies to the topics that exist when a key is first used. What is born later begins at its beginning, and
    this row is how the two are told apart.
    """

    cluster = models.CharField(max_length=64)
    group_id = models.CharField(max_length=255)
    key = models.CharField(max_length=249)
    first_used = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["cluster", "group_id", "key"], name="alertstreams_subscribedkey_unique")
        ]

    def __str__(self) -> str:
        return f"{self.group_id}: {self.key}"


class DeadLetter(models.Model):
    """An alert that one handler could not take: waiting to be tried again, or given up. Never dropped."""

    class State(models.TextChoices):
        """Where the alert stands."""

        WAITING = "waiting", "waiting for the next try"
        OPEN = "open", "given up"
        REPLAYED = "replayed", "replayed"
        DISMISSED = "dismissed", "dismissed"

    stream = models.CharField(max_length=100)
    cluster = models.CharField(max_length=64)
    group_id = models.CharField(max_length=255)
    topic = models.CharField(max_length=249)
    partition = models.IntegerField()
    offset = models.BigIntegerField()
    #: A topic that was deleted and made anew has its offsets again: then two letters are of different alerts.
    generation = models.PositiveIntegerField(default=0, editable=False)
    key = models.BinaryField(null=True)
    #: ``[[name, base64 of the value or null], …]``
    headers = models.JSONField(default=list)
    timestamp = models.DateTimeField(null=True, blank=True)
    #: The bytes as they came, never cut; null is a tombstone.
    raw = models.BinaryField(null=True)
    handler = models.CharField(max_length=255)
    error_class = models.CharField(max_length=255)
    error = models.TextField()
    traceback = models.TextField(blank=True)
    #: The same for every alert that failed in the same place for the same reason.
    fingerprint = models.CharField(max_length=64, db_index=True)
    attempts = models.PositiveIntegerField(default=0)
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    first_failed_at = models.DateTimeField(default=timezone.now)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    #: Until then another process is trying it.
    leased_until = models.DateTimeField(null=True, blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["cluster", "group_id", "topic", "partition", "offset", "handler", "generation"],
                name="alertstreams_deadletter_unique",
            )
        ]
        indexes = [
            models.Index(fields=["stream", "state", "next_attempt_at"], name="alertstreams_deadletter_due"),
            # All that groups and counts ask, so that the letters themselves, traceback and all, need not be read for them.
            models.Index(
                fields=[
                    "state",
                    "stream",
                    "handler",
                    "fingerprint",
                    "error_class",
                    "topic",
                    "first_failed_at",
                    "updated_at",
                    "id",
                ],
                name="alertstreams_deadletter_cause",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}: {self.error_class}"


class LetterAction(models.Model):
    """What somebody did to dead letters: tried them again, or gave them up."""

    class Kind(models.TextChoices):
        """What was done."""

        REPLAY = "replay", "replayed"
        DISMISS = "dismiss", "dismissed"

    kind = models.CharField(max_length=10, choices=Kind.choices)
    #: The name of the user; of one at a terminal, that of the login and the machine.
    who = models.CharField(max_length=255)
    started = models.DateTimeField(default=timezone.now, db_index=True)
    #: Null while it goes on; it can be resumed then.
    finished = models.DateTimeField(null=True, blank=True)
    #: Which letters: the fields of ``delivery.letters.LetterFilter`` that chose.
    chosen = models.JSONField(default=dict)
    total = models.PositiveIntegerField(default=0)
    #: done, rejected, waiting, dead, dismissed → letters.
    became = models.JSONField(default=dict, blank=True)
    #: Why letters were left as they were → how many.
    left = models.JSONField(default=dict, blank=True)
    #: The id of the last letter that it is through with: it takes them in this order.
    reached = models.BigIntegerField(default=0, editable=False)
    #: Until then another process or page is at it.
    held_until = models.DateTimeField(null=True, blank=True, editable=False)

    def __str__(self) -> str:
        return f"{self.total:,} {self.get_kind_display()} by {self.who} at {self.started:%Y-%m-%d %H:%M}"

    @property
    def done(self) -> int:
        """Letters that need nothing more from it."""
        return int(sum(self.became.values()) + sum(self.left.values()))


class StreamRun(models.Model):
    """One life of one stream in one process."""

    class State(models.TextChoices):
        """What the stream is doing."""

        STARTING = "starting", "starting"
        RUNNING = "running", "running"
        NO_TOPIC = "no_topic", "finds no topic"
        WAITING = "waiting", "waiting"
        STOPPED = "stopped", "stopped"
        DOWN = "down", "down"
        STUCK = "stuck", "stuck in one alert"
        FUSE = "fuse", "stopped by its fuse"
        TAKEN = "taken", "taken over by another database"
        GAP = "gap", "stopped at a gap"

        @property
        def needs_you(self) -> bool:
            """Whether the stream has stopped until somebody acts; to start it again helps nobody."""
            return self in (StreamRun.State.FUSE, StreamRun.State.TAKEN, StreamRun.State.GAP)

    stream = models.CharField(max_length=100, db_index=True)
    group_id = models.CharField(max_length=255, blank=True)
    started = models.DateTimeField(default=timezone.now)
    heartbeat = models.DateTimeField(default=timezone.now)
    ended = models.DateTimeField(null=True, blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.STARTING)
    #: Why it waits, stopped or is down, in words for everybody; ``last_error`` has those of the error, for staff.
    reason = models.TextField(blank=True)
    last_error = models.TextField(blank=True)
    lag = models.BigIntegerField(null=True, blank=True)
    #: Of the partitions that are its own: topic → ``{"handler": dotted path, "lag": alerts not handled yet}``.
    topics = models.JSONField(default=dict, blank=True)
    #: Alerts that this life has brought so far.
    received = models.BigIntegerField(default=0)
    #: Alerts a second since the heartbeat before.
    rate = models.FloatField(null=True, blank=True)
    #: The fuse has blown in this life, or in one before it, and no alert has succeeded since; null until that is known.
    fuse_blown = models.BooleanField(null=True)
    #: Alerts that the broker did not have any more:
    #: ``[{"topic", "partition", "expected": offset, "found": offset, "time": ISO 8601, "reason"}, …]``, the last 100.
    gaps = models.JSONField(default=list, blank=True)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    version = models.CharField(max_length=40)
    settings_fingerprint = models.CharField(max_length=64)

    def __str__(self) -> str:
        return f"{self.stream} on {self.host} since {self.started:%Y-%m-%d %H:%M}"


class Alarm(models.Model):
    """Something that somebody was told of: it goes on until it is over."""

    class Kind(models.TextChoices):
        """What is wrong."""

        DOWN = "down", "does not run"
        FUSE = "fuse", "stopped by its fuse"
        SILENT = "silent", "brings nothing"
        LETTERS = "letters", "dead letters grow"

    stream = models.CharField(max_length=100)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    reason = models.TextField(blank=True)
    began = models.DateTimeField(default=timezone.now)
    #: When it was told last; null where that has not succeeded yet.
    told = models.DateTimeField(null=True, blank=True)
    over = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            # One process tells it, however many read the stream.
            models.UniqueConstraint(
                fields=["stream", "kind"], condition=models.Q(over__isnull=True), name="alertstreams_alarm_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.stream} {self.get_kind_display()} since {self.began:%Y-%m-%d %H:%M}"


class OutcomeCount(models.Model):
    """How many alerts of a topic ended how, by the hour (UTC). Written in the transaction that moves the offset."""

    stream = models.CharField(max_length=100)
    topic = models.CharField(max_length=249)
    hour = models.DateTimeField()
    #: done, rejected, waiting (each try that failed and is followed by another) or dead.
    outcome = models.CharField(max_length=10)
    #: Why it was rejected; else empty.
    code = models.CharField(max_length=32, blank=True)
    n = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["stream", "topic", "hour", "outcome", "code"], name="alertstreams_outcomecount_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00} {self.stream} {self.topic} {self.outcome} {self.code}: {self.n}"


class Rejection(models.Model):
    """One alert that a rule rejected, kept for some days to answer "why was my object not ingested?"."""

    stream = models.CharField(max_length=100)
    topic = models.CharField(max_length=249)
    partition = models.IntegerField()
    offset = models.BigIntegerField()
    object_id = models.CharField(max_length=100, db_index=True)
    code = models.CharField(max_length=32)
    time = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return f"{self.time:%Y-%m-%d %H:%M:%S} {self.topic} {self.object_id}: {self.code}"


class Installation(models.Model):
    """One row: the id of this database, drawn when it is first needed. Names the consumer group where settings do not."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    #: Unique and always true, so that two processes that start together cannot draw two ids.
    only = models.BooleanField(default=True, unique=True, editable=False)

    def __str__(self) -> str:
        return str(self.id)

    @classmethod
    def current(cls) -> Installation:
        """The row of this database, drawn now if there is none yet."""
        return cls.objects.get_or_create(only=True)[0]
