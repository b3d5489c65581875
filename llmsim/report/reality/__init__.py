"""How far a simulation was from the live run of the same scenario."""
