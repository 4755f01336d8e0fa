"""Kernels in C for the families: sources, how they are built, how they are loaded. No framework is imported here."""
