"""The source's claims, put to the test."""
