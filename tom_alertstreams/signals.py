"""Django signals of the delivery."""

from __future__ import annotations

from typing import Final

from django.dispatch import Signal

#: Sent by each stream, in its thread, before its first alerts and then hourly, between two batches and outside of any
#: transaction: for work that belongs to no batch. ``source``: the stream, with its ``bindings``. An error counts as one
#: of the stream.
housekeeping: Final = Signal()
