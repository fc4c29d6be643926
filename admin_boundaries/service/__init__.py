"""Answers of a service from the marts: many questions at once, each by one build, and none without bounds."""
