"""Which unit of one dataset is which unit of another: by codes, by names under the same parent, by area.

Plain functions over streams of Arrow record batches, which a Python model of dbt calls.
"""
