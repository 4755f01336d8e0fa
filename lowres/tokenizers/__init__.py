"""Subword tokenizers: SentencePiece with ULMFiT's rules, GPT-2's byte-level BPE, and packed token arrays."""
