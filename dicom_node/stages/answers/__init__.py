"""Stages about what people say of a result: how it comes in, what it means, what it does."""
