"""From a track's sound, artist, year and tags to its factors: examples, readers, networks, training, prediction.

The data's way: `vocabulary` numbers the artists, years and tags of the training tracks; `features` joins them with mel
rows; `examples` adds targets and cuts the rows into equal shards, one Parquet file each; `readers` turn shards into
batches in an order that (seed, epoch) fixes; `loop` trains a network of `networks` on one rank; `distribution` runs
the ranks; `predict` maps the best checkpoint over all tracks that have features; `accuracy` measures what came out.
"""
