"""Predict a track's factors from its sound, artist, year and tags.

The modules in the order of the data flow:

- `vocabulary` numbers the artists, years and tags of the training tracks.
- `features` joins them with mel rows.
- `examples` adds targets and cuts the rows into equal shards, one Parquet file each.
- `readers` turn shards into batches; (seed, epoch) fixes their order.
- `loop` trains a network of `networks` on one rank; `distribution` runs the ranks.
- `regression` fits the ridge regression of `ridge` to the same examples.
- `predict` applies the best checkpoint and the regression to all tracks that have features.
- `accuracy` measures the errors of the predicted factors.
"""
