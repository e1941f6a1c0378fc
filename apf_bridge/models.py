"""The outbox: what steps have put out, kept until a broker has it."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone


class Outlet(models.Model):
    """Where the output of one step of one stream goes out. One process at a time has it, so that order is kept."""

    #: ``<label of the stream>: <dotted path of the step>``.
    name = models.CharField(max_length=355, unique=True)
    #: Which publisher has it; None while nobody has.
    holder = models.UUIDField(null=True, blank=True)
    held_until = models.DateTimeField(null=True, blank=True)
    #: Days after which what it has delivered is deleted: OUTBOX_DAYS, as last seen by a stream.
    keep_days = models.FloatField(default=7.0)

    def __str__(self) -> str:
        return self.name


class OutboxMessage(models.Model):
    """One message of a step, written in the transaction that holds the offsets of the alerts it was made of."""

    class State(models.TextChoices):
        """Where the message stands."""

        PENDING = "pending", "not on the broker yet"
        DELIVERED = "delivered", "on the broker"
        REFUSED = "refused", "refused by the broker for good"

    #: Header ``id`` on the topic, the same however often the message is sent: who reads it can tell a second one.
    message_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    outlet = models.ForeignKey(Outlet, on_delete=models.PROTECT, related_name="messages")
    #: See :mod:`apf_bridge.producer_names`.
    producer = models.CharField(max_length=255)
    topic = models.CharField(max_length=249)
    #: Where the step named one; else it follows from the key.
    partition = models.PositiveIntegerField(null=True, blank=True)
    #: Milliseconds since 1970, where the step gave a time; else that of sending.
    timestamp = models.BigIntegerField(null=True, blank=True)
    key = models.BinaryField(null=True)
    value = models.BinaryField(null=True)
    #: ``[[name, base64 of the value or null], …]``, besides the id.
    headers = models.JSONField(default=list)
    #: ``topic[partition]@first-last`` of the alerts of its batch, as far as there is room.
    source = models.CharField(max_length=500, blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    created = models.DateTimeField(default=timezone.now)
    delivered = models.DateTimeField(null=True, blank=True)
    #: How often the broker has answered, or could not be asked.
    attempts = models.PositiveIntegerField(default=0)
    last_error = models.TextField(blank=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["outlet", "producer", "id"], name="apf_outbox_waiting", condition=models.Q(state="pending")
            ),
            models.Index(fields=["delivered"], name="apf_outbox_delivered", condition=models.Q(state="delivered")),
            models.Index(fields=["outlet"], name="apf_outbox_refused", condition=models.Q(state="refused")),
        ]

    def __str__(self) -> str:
        return f"{self.topic} {self.message_id} {self.state}"
