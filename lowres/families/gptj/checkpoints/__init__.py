"""Weights of a GPT-J in the layouts that are published, read and written tensor by tensor; no framework is needed."""
