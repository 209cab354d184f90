"""The synthetic conservatoire: audio, catalogue and logs with a planted structure, from a seed.

The audio and the logs that are freely available have no track in common, so the joint demonstration is synthetic, and
says so wherever its numbers appear. The story, module by module: `latent` draws what pieces, artists and learners are
like and decides how much of taste each source tells; `listens` lets learners play; `logs` writes what they played, with
faults; `catalogue` writes what a library would know; `render` turns style into sound and `files` into audio files,
some of them broken; `corpus` puts it all in a folder, with the truth beside it.
"""

VERSION = 1
"""Raised whenever the same settings would give another corpus."""
