"""Denoising: what the noise is, what the signal is, and how to part them."""
