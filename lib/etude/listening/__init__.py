"""From logs and catalogues to plays, tracks, users and interactions.

The way of a batch:

1. `files` lists the log, leaves out what earlier batches took (known by content hash) and has executors look at the
   rest: `layout` finds each file's columns.
2. `records` reads every record of those files, whatever their format, into one shape: file, hash of the record,
   what is wrong with its form, and the mapped columns as text. `identity` puts pseudonyms in the place of user ids.
3. `cleaning` types the columns and gives every record a verdict; `dedup` finds repeats and bots within the batch,
   gives every reject its locator, and `settle` settles the batch with the plays that are in the lake.
4. `indices` continues the dense indices of users and tracks; `catalogue` and `tracks` merge what is known of the
   tracks.
5. `etude.interactions`, which wmf uses too, sums plays, takes the k-core and samples.

Every record of a batch ends as a kept play or as a row of `rejects`; the counts are compared.
"""
