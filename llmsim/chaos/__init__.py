"""Rehearsals: which scenarios there are, whose gateway goes through them, and which faults would break it."""
