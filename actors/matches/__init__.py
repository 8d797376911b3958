"""From the GC's bytes to JSON (of matches, of players) and replay URL, and what is known of matches."""
