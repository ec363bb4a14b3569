"""Records of results: their files, the published numbers beside them, and all of them as one table."""
