"""Fit by the engine `barrier`: one Spark stage whose tasks are ranks that exchange factors among themselves."""
