"""GPT-J in plain JAX: the exact architecture at any size, trained, fine-tuned and classified with."""
