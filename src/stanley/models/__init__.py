"""Trained energies: loaded, packed, shipped, exported."""
