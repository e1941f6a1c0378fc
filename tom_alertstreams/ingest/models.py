"""Where Targets came from and where they are: which alert made or changed which, what classifiers said, sky positions."""

from __future__ import annotations

from django.db import models


class MatchMethod(models.TextChoices):
    """How an alert found its Target."""

    CREATED = "created", "New Target"
    EVENT = "event", "Same event"
    NAME = "name", "Same name"
    ALIAS = "alias", "Same alias"
    POSITION = "position", "Same position"
    NONE = "", "No Target yet"


class TargetAlert(models.Model):
    """One alert, and what it did to one Target."""

    stream = models.CharField(max_length=100, help_text="Label of the stream.")
    topic = models.CharField(max_length=249)
    partition = models.IntegerField()
    offset = models.BigIntegerField()
    alert_id = models.CharField(
        max_length=200, help_text="The provider's id of the alert; where it has none, the SHA-256 of its bytes."
    )
    object_id = models.CharField(max_length=200, help_text="The provider's name of the object.")
    target = models.ForeignKey(
        "tom_targets.BaseTarget",
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="target_alerts",
        help_text="Empty for a retraction that came before its event.",
    )
    event_key = models.CharField(
        max_length=200, blank=True, default="", help_text="Mission and id of the event; empty for what is no event."
    )
    ra = models.FloatField(null=True, blank=True, help_text="Right ascension that the alert gives (ICRS, degrees).")
    dec = models.FloatField(null=True, blank=True, help_text="Declination that the alert gives (ICRS, degrees).")
    time = models.DateTimeField(null=True, blank=True, help_text="When the alert was issued.")
    match_method = models.CharField(max_length=10, choices=MatchMethod.choices, blank=True, default="")
    separation_arcsec = models.FloatField(
        null=True, blank=True, help_text="From the Target to the alert's position, where matched by position."
    )
    second_candidate = models.ForeignKey(
        "tom_targets.BaseTarget",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="Another Target that was within the match radius.",
    )
    retraction = models.BooleanField(default=False)
    points = models.PositiveIntegerField(default=0, help_text="Photometry points that this alert brought.")
    summary = models.CharField(max_length=255, blank=True, default="")
    created = models.DateTimeField(auto_now_add=True, help_text="When it was ingested.")

    class Meta:
        verbose_name = "alert of a target"
        verbose_name_plural = "alerts of targets"
        constraints = [
            # Neither a second delivery nor the same alert read from another broker makes a second row.
            models.UniqueConstraint(fields=["alert_id", "object_id"], name="target_alert_once"),
        ]
        indexes = [
            models.Index(fields=["event_key"], name="target_alert_event"),
            models.Index(
                fields=["stream", "created"], name="target_alert_created", condition=models.Q(match_method="created")
            ),
            # Of the pages: "what came until then?", and "what became of my object?". All else follows the primary key.
            models.Index(fields=["created"], name="target_alert_came"),
            models.Index(fields=["object_id"], name="target_alert_object"),
        ]

    def __str__(self) -> str:
        return f"{self.object_id}: {self.summary}" if self.summary else self.object_id


class Classification(models.Model):
    """One class that one classifier gave to an object."""

    object_id = models.CharField(max_length=200, help_text="The provider's name of the object.")
    target = models.ForeignKey(
        "tom_targets.BaseTarget",
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="alert_classifications",
    )
    alert_id = models.CharField(max_length=200)
    classifier = models.CharField(max_length=100)
    version = models.CharField(max_length=50, blank=True, default="")
    class_name = models.CharField("class", max_length=100)
    probability = models.FloatField(null=True, blank=True)
    ranking = models.IntegerField(null=True, blank=True, help_text="1 is the classifier's most probable class.")
    time = models.DateTimeField(null=True, blank=True)
    features = models.JSONField(blank=True, default=dict, help_text="What the classifier looked at.")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["object_id", "alert_id", "classifier", "version", "class_name"], name="classification_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.object_id}: {self.classifier} {self.class_name}"


class TargetPosition(models.Model):
    """Where on the sky a sidereal Target is: what alerts are matched by. Follows the Target; see ``positions``."""

    target = models.OneToOneField(
        "tom_targets.BaseTarget", on_delete=models.CASCADE, primary_key=True, related_name="+"
    )
    ra = models.FloatField(help_text="Right ascension (ICRS, degrees).")
    dec = models.FloatField(help_text="Declination (ICRS, degrees).")
    cell = models.BigIntegerField(db_index=True, help_text="HEALPix cell of order 29, nested.")

    def __str__(self) -> str:
        return f"{self.target_id}: {self.ra}, {self.dec}"
