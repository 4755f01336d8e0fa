"""The time loops, softmax and weight dropout in C: sources, how they are built, and autograd Functions around them."""
