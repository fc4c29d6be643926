"""Units of one level as a coverage: what borders what, where they overlap, and how they can be drawn with less.

Plain functions over streams of Arrow record batches, which the Python models of dbt call. A border is taken apart into
its segments, from vertex to vertex: two units that share a border were drawn with the same vertices, so that both have
the same segments, and finding equal ones is cheaper than any geometry.
"""
