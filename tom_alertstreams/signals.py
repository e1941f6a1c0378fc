"""Django signals of the delivery."""

from __future__ import annotations

from typing import Final

from django.dispatch import Signal

#: Sent by each stream, in its thread, before its first alerts and then hourly, between two batches and outside of any
#: transaction: for work that belongs to no batch. ``source``: the stream, with its ``bindings``. An error counts as one
#: of the stream.
housekeeping: Final = Signal()

#: Sent by each stream, in its thread, in every turn of its loop (twice a second where nothing comes) outside of any
#: transaction: for work that must not wait, such as hearing what a broker has taken. ``source`` as above; ``ending``:
#: True once, when the stream ends, and an error is then only logged.
turned: Final = Signal()
