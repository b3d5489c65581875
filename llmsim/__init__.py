"""A wind tunnel for LLM gateways."""
