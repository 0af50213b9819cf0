"""Who computes cells: this process, or a cluster."""
