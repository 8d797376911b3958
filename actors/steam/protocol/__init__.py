"""Steam and GC messages as bytes."""
