"""An invented landscape with spectra: the ground the demo scene shows."""
