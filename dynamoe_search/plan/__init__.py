"""What a study will do: its file, its candidates, and what follows before any training."""
