"""Labelled sets: reading, splits, nested subsets, leak audits, and a user's own data."""
