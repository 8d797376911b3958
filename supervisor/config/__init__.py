"""Settings: model, loading, errors, changes, and the watch on the file."""
