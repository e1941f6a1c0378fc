"""A broker, a clock and two processes in memory, for the model of delivery (tests/faults/test_model.py)."""
