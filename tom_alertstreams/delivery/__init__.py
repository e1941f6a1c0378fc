"""From Kafka to handlers, and the offsets: what must not lose an alert, nor let one count twice.

The road of an alert: ``supervisor`` (a thread for each stream), ``loop`` (its turns), ``intake`` (reads), ``runner`` (opens
transactions) with ``calls`` (calls handlers), ``ledger`` (counts and dead letters) and ``offsets`` (compare-and-set).
What fails: ``failures``, ``fuse``, ``waiting``, ``gaps``, ``ownership``. How a stream is: ``runs``, ``heartbeats``,
``watchdog``, ``measures``. Beside the loop, for who looks after it: ``letters``, ``letter_actions``, ``letter_content``,
``replay``, ``seek``, ``pruning``, ``trial``.
"""
