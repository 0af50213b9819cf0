"""Restoration networks in the key layouts of their published checkpoints, readers of their files, and tiles."""
