"""From tables to verdicts, pages and pictures; reads tables and specs, never the engine."""
