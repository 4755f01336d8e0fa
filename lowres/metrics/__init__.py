"""Scores: classification, bits per byte, paired comparison."""
