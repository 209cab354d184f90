"""Rank tracks for users and measure the lists: exact ranking in numpy, mapped over users by Spark."""
