"""HyperSIGMA: a spatial and a spectral transformer and the heads of its tasks.

Wang et al. 2025, "HyperSIGMA: Hyperspectral Intelligence Comprehension Foundation Model", IEEE TPAMI.
Parameter names are the original's, so that released files load unchanged.
"""
