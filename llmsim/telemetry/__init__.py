"""What is recorded, in columns, and what is computed from it."""
