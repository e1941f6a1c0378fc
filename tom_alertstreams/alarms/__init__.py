"""Alarms: somebody is told when a stream does not do what it is there for, and when it does again."""
