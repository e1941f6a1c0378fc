"""Django signals: of the delivery, and for who tells people how streams are."""

from __future__ import annotations

from typing import Final

from django.dispatch import Signal

#: Sent by each stream, in its thread, before its first alerts and then hourly, between two batches and outside of any
#: transaction: for work that belongs to no batch. ``source``: the stream, with its ``bindings``. An error is told once for
#: each cause; the other receivers are called and the stream goes on. A receiver with much to do returns an iterator, of which
#: the stream takes some in every turn of its loop.
housekeeping: Final = Signal()

#: Sent by each stream, in its thread, in every turn of its loop (twice a second where nothing comes) outside of any
#: transaction: for work that must not wait, such as hearing what a broker has taken. Also while the stream waits for its
#: broker or a service; after an error there not again for 30 s. ``source`` as above; ``ending``: True once, when the stream
#: ends, and an error is then only logged.
turned: Final = Signal()

#: Sent when dead letters of a stream were tried again, in the thread that did so and outside of any transaction. ``source``:
#: the stream, made for that alone. An error is only logged.
replayed: Final = Signal()

#: Sent where people are told how streams are, by their page and at the terminal. ``labels``: of the streams. A receiver
#: returns label → a line of plain text, or several, or None; it asks the database once at most. One that fails, and what is
#: no text, is logged and left out.
describing: Final = Signal()
