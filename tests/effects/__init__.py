"""A small app whose rows are what the handlers of the tests do."""
