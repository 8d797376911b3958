"""From the GC's bytes to match JSON and replay URL, and what is known of matches."""
