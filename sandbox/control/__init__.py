"""Control API, actions, fault switches, scenarios and the journal."""
