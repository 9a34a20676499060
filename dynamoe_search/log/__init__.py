"""The log of a study: events, where they are kept, and what they add up to."""
