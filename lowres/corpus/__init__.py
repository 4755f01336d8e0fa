"""From a Wikipedia dump or a text file to a cleaned, split corpus."""
