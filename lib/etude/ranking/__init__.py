"""Top-N lists of tracks for users, and what they are worth: exact ranking in numpy, mapped over users by Spark."""
