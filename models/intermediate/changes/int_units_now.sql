{{ compared_units() }}
