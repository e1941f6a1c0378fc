"""The pages of the alert streams in a TOM, one module for each, and the health of all for monitors."""
