"""Detection: anomalies, targets, and thresholds at a false-alarm rate."""
