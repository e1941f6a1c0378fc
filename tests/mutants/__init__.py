"""Patches that each take one promise away, and the program that shows a test noticing it."""
