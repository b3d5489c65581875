"""The real code under test: asyncio only, no trace of the simulator."""
