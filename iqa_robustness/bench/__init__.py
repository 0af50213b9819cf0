"""Cells: what is computed, from which stages, and by whom."""
