"""Smoothed metrics with certificates."""
