"""What text is, for all: normalisation, shingles and n-grams."""
