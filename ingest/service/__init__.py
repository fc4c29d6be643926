"""Servers that answer from the marts and change nothing: one for HTTP, and one for assistants (MCP)."""
