"""Generate the synthetic conservatoire from a seed: audio, catalogues and logs with a planted structure.

Freely available audio and logs have no tracks in common. So the demonstration is synthetic, and is labelled as
synthetic next to its numbers. Modules:

- `latent` draws the properties of pieces, artists and learners, and the share of taste that each source explains.
- `listens` simulates the plays of learners; `logs` writes them, with faults.
- `catalogue` writes the catalogues.
- `render` synthesises sound from style; `files` writes the audio files, some of them broken.
- `corpus` writes the whole corpus into a folder, with the ground truth.
"""

VERSION = 1
"""Version of the corpus; raise it when the same settings give another corpus."""
