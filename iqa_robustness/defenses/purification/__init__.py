"""Defenses that change the image before it is scored; one file a defense."""
