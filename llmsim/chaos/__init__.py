"""Rehearsals: which scenarios there are, and whose gateway goes through them."""
