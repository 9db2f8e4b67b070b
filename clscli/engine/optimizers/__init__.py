"""Optimizers: torch's own with typed parameters, and four that torch has not, or not for kernels.

An optimizer component gets `params`, torch's list of parameter groups, and returns a `torch.optim.Optimizer`;
one that treats the weights of hidden layers in its own way also gets these, as `hidden_weights`. Defaults are
those of torch, or of the paper, where no other source is named.
"""
