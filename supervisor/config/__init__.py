"""Settings: model, sources, errors, live changes."""
