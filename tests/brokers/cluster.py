"""A scripted cluster of three brokers, whose leaders and coordinators are where a test puts them."""

from __future__ import annotations

import ctypes

from .scripted import ScriptedBroker


class ScriptedCluster(ScriptedBroker):
    """Brokers 1 to 3. Nothing moves by itself when one of them is down: a test says who takes over."""

    def __init__(self) -> None:
        super().__init__(brokers=3)
        pointer, number, text = ctypes.c_void_p, ctypes.c_int32, ctypes.c_char_p
        self._lib.rd_kafka_mock_coordinator_set.argtypes = [pointer, text, text, number]
        self._lib.rd_kafka_mock_partition_set_leader.argtypes = [pointer, text, number, number]

    def coordinate(self, group_id: str, broker: int) -> None:
        """This broker is the coordinator of a consumer group from now on."""
        self._check(self._lib.rd_kafka_mock_coordinator_set(self._cluster, b"group", group_id.encode(), broker))

    def lead(self, topic: str, partition: int, broker: int) -> None:
        """This broker has a partition from now on."""
        self._check(self._lib.rd_kafka_mock_partition_set_leader(self._cluster, topic.encode(), partition, broker))
