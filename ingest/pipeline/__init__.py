"""Runs, from request to publication: the queue, its tasks, the consumers that execute them, and alerts."""
