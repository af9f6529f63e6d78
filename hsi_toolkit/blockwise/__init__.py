"""Work on a scene block by block that outlives its process and spreads over several.

``journal`` remembers finished blocks beside the output, ``cluster`` has them computed by other processes, on
this machine or on many. Either needs blocks that know nothing of each other.
"""
