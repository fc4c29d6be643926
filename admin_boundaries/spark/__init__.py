"""Spark, for more points, or more boundaries, than one machine can take. Only this package imports pyspark."""
