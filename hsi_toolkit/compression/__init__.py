"""Compressed scenes (.hsz): lossless, or lossy within a bound that every sample keeps."""
