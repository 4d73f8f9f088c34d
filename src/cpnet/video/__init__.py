"""Video files: decode them, and encode their frames as rows of features."""
