"""Durable work. Rows are the truth; the engine only runs them (docs/explanations/decisions/0002)."""
