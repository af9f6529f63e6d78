"""Looking a scene over: what its bands, columns, spectra and georeference are worth."""
