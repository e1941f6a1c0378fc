"""One row an effect, without any unique key: a second one would show."""

from __future__ import annotations

from django.db import models


class Effect(models.Model):
    """A handler has handled an alert."""

    topic = models.CharField(max_length=249)
    partition = models.IntegerField()
    offset = models.BigIntegerField()
    note = models.CharField(max_length=100, blank=True)

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset} {self.note}"


class OnlyOnce(models.Model):
    """A row that can be inserted once."""

    name = models.CharField(max_length=50, unique=True)

    def __str__(self) -> str:
        return self.name
