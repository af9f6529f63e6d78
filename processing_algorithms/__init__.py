"""One module a Processing algorithm."""
