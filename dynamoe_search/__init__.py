"""Search how many experts each layer of a Mixture-of-Experts network should get."""

__version__ = "0.1.0"
