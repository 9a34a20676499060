"""The families of models whose configs can be read."""
