"""ALeRCE's classifications in a TOM: the stream, and the handler that makes Targets of them."""
