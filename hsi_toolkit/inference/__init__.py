"""Applying a trained classifier to scenes of any size, on a processor or CUDA device."""
