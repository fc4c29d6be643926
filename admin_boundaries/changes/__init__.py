"""What changed between two releases of a dataset, and how to carry data from one to the other.

Plain functions over streams of Arrow record batches, which Python models of dbt call.
"""
