"""Control API, fault switches, scenarios and the journal."""
