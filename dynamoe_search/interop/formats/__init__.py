"""How trainers and model libraries write experts per layer: a writer and a reader for each."""
