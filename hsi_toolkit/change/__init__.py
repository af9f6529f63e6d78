"""Change between two scenes of the same place."""
