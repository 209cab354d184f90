"""Factorise interactions: engines behind one interface, the exact loss, and folding in."""
