"""Steam messages as bytes."""
