"""Simulated providers: a queueing system with an LLM's timing."""
