"""Decoder of the GC's match answers and profile cards."""
