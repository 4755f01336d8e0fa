"""`lowres gptj plan`: the real training step, compiled for a machine that is not there."""
