"""Authentication, client identity, rate limits and protection from foreign pages."""
