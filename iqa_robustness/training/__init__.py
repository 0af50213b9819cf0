"""Training of what the package ships: metric heads, perturbations, denoisers."""
