"""From records to verdicts: measures with intervals, thresholds, and what may be concluded."""
