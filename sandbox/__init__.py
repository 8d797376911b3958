"""Simulated Steam network on loopback; imports nothing from the service."""
