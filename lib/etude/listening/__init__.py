"""Turn logs and catalogues into plays, tracks, users and interactions.

A batch passes these steps:

1. `files` lists the log and skips files that earlier batches read (by content hash). Executors inspect the rest:
   `look` refuses what Spark would misread and measures lines, `layout` finds the columns, and `columns` their roles.
2. `records` reads the records of all formats into one schema: file, hash of the record, format fault, and the mapped
   columns as text. `identity` replaces user ids with pseudonyms.
3. `cleaning` types the columns and accepts or rejects every record. `dedup` finds repeats and bots within the batch
   and numbers equal records. `settle` reconciles the batch with the plays in the lake.
4. `indices` continues the dense indices of users and tracks. `catalogue` and `tracks` merge the metadata of tracks.
5. `etude.interactions`, which wmf uses too, sums plays, takes the k-core and samples.

Every record of a batch becomes a kept play or a row of `rejects`; ingest compares the counts.
"""
