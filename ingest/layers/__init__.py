"""What is in a file: its layers and their columns, how heavy each feature is, and how a layer is cut into slices."""
