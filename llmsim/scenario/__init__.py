"""A scenario file, the frozen value it becomes, and the objects that run it."""
