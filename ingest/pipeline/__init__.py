"""Runs from request to publication: the queue, its tasks, the consumers that work on it, and what is told of it."""
