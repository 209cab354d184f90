"""Define every Delta table of the lake: columns, key, partitions, constraints, and the meaning of each column.

`ingest` turns logs into plays and rejects, assigns dense indices to users and tracks, and sums plays into interactions.
`wmf` splits interactions and factorises them. `mel` turns audio into mel rows. `train` joins factors, mel and catalogue
into examples, and predicts factors of tracks from their content. `topn` ranks tracks for users. Jobs write figures to
metrics and a row to runs; `releases` says which runs are served. etude.stages says which stage reads and writes which
table.
"""

from __future__ import annotations

from dataclasses import replace

from etude.lake.schema import Column, Table

_RUN = Column("run_id", "string", "Run that wrote the row; its rows count if `runs` says that it succeeded.")
_USER_IDX = Column("user_idx", "int", "Dense index of the user, assigned in `users`.")
_TRACK_IDX = Column("track_idx", "int", "Dense index of the track, assigned in `tracks`.")
_BATCH = Column("batch_date", "date", "Batch (UTC date) that the row came with.")

PLAYS = Table(
    name="plays",
    comment="Cleaned plays: one row per event (event logs), or per user and track with the count so far (snapshots).",
    lifetime="lake",
    key=("event_id",),
    columns=(
        Column(
            "event_id",
            "string",
            "128-bit hash (hex) of source, user, track, played_at, play_count; in snapshots of source, user, track.",
        ),
        Column("user_id", "string", "The log's user id; its HMAC-SHA256 (hex) if ETUDE_USER_KEY was set."),
        Column("track_id", "string", "The log's track id, or `name:` + hash of normalised artist and title."),
        Column("played_at", "timestamp", "UTC; null if the log has no time.", nullable=True),
        Column("play_count", "bigint", "Number of plays that the row stands for; at least 1."),
        Column("source", "string", "Name of the log (`listening.source`)."),
        _BATCH,
        Column(
            "counted_on",
            "date",
            "Batch that the count comes from; later than batch_date if a newer snapshot changed the count.",
        ),
        Column("file", "string", "File of the row: path below the log's folder, @, start of the content hash."),
        Column("record", "bigint", "64-bit hash of the raw record; a reject's locator holds it in hex."),
    ),
    partition_by=("batch_date",),
    constraints={"play_count_positive": "play_count >= 1"},
    statistics=("played_at",),
)

INGESTED_FILES = Table(
    name="ingested_files",
    comment="Files of logs that batches have read, identified by content, so that later batches skip them.",
    lifetime="lake",
    key=("source", "path", "content_sha256"),
    columns=(
        Column("source", "string", "Name of the log (`listening.source`)."),
        Column("path", "string", "Path or URI of the file when it was read."),
        Column("content_sha256", "string", "SHA-256 of its bytes; HMAC-SHA256 if ETUDE_USER_KEY was set."),
        Column("file", "string", "Its name in plays and locators."),
        Column("size", "bigint", "Bytes."),
        Column(
            "modified_at",
            "timestamp",
            "Modification time, UTC; a file with the same path, size and time counts as unchanged.",
        ),
        Column("first_batch_date", "date", "Earliest batch that had the content; its rows have that batch_date."),
        Column("last_batch_date", "date", "Latest batch that read it; later than the first only for snapshots."),
        Column("taken_at", "timestamp", "When the content was first read, UTC; plays after that time are rejected."),
        Column(
            "columns",
            "map<string,string>",
            "Role -> name or position of the column. Whether there is one for played_at, play_count and event can't "
            "change between batches.",
        ),
        Column("key_id", "string", "Identifies the ETUDE_USER_KEY that was set; null if none was.", nullable=True),
    ),
)

REJECTS = Table(
    name="rejects",
    comment="Every rejected input with its reason; inputs of a job = inputs that it kept + rows here.",
    lifetime="lake",
    key=("job", "source", "locator"),
    columns=(
        Column("job", "string", "Job that rejected the input."),
        Column("source", "string", "Log, catalogue or manifest that the input came from."),
        Column(
            "locator",
            "string",
            "File, hash of the raw record and ordinal among equal records; in mel: track#crop.",
        ),
        Column(
            "raw",
            "string",
            "Raw record without its user field; in mel: JSON of path, size, time and a hash of the settings tried.",
            nullable=True,
        ),
        Column(
            "reason",
            "string",
            "Reason as one word, such as bad_timestamp, negative_count, duplicate, too_short.",
        ),
        Column("detail", "string", "Explanation for a person.", nullable=True),
        _BATCH,
    ),
    partition_by=("job",),
)

TRACKS = Table(
    name="tracks",
    comment="Union of log and catalogue: one row per track ever seen, with its stable dense index.",
    lifetime="lake",
    key=("track_id",),
    columns=(
        Column("track_id", "string", "Id of the track; all ids of a lake come from one family."),
        Column("title", "string", "Title, from the first catalogue source that has one.", nullable=True),
        Column(
            "artist_id",
            "string",
            "Id of the artist, or `name:` + hash of the normalised name.",
            nullable=True,
        ),
        Column("artist_name", "string", "Artist as in the catalogue.", nullable=True),
        Column("release_year", "int", "Year of release; null if unknown (0 in the source).", nullable=True),
        Column(
            "tags", "array<string>", "Tags or genres, most important first; empty if there are none.", nullable=True
        ),
        Column("tag_weights", "array<float>", "Weights of tags, same length, summing to 1.", nullable=True),
        Column("audio_uri", "string", "URI of the audio file, if there is one.", nullable=True),
        Column(
            "alias_of",
            "string",
            "Id of the track for which this id stands (`catalogue.aliases`); null for a track.",
            nullable=True,
        ),
        _TRACK_IDX,
        Column(
            "origins",
            "map<string,string>",
            "Filled column -> the catalogue it comes from, `log`, `alias` if it is said of an alias of the track, or "
            "`artist_name` if artist_id was derived from that.",
        ),
    ),
    constraints={"track_idx_not_negative": "track_idx >= 0"},
)

USERS = Table(
    name="users",
    comment="One row per user ever seen, with the stable dense index.",
    lifetime="lake",
    key=("user_id",),
    columns=(Column("user_id", "string", "User id as in plays: raw or HMAC."), _USER_IDX),
    constraints={"user_idx_not_negative": "user_idx >= 0"},
)

INTERACTIONS = Table(
    name="interactions",
    comment="Plays summed by user and track after the k-core filter and sampling: the matrix that wmf factorises.",
    lifetime="derived",
    key=("user_idx", "track_idx"),
    columns=(
        _USER_IDX,
        _TRACK_IDX,
        Column("play_count", "bigint", "Plays of the track by the user; r in the formulas."),
        Column("first_played_at", "timestamp", "UTC; null if the log has no time.", nullable=True),
        Column("last_played_at", "timestamp", "UTC; null if the log has no time.", nullable=True),
    ),
    constraints={"play_count_positive": "play_count >= 1"},
)

_ORIGIN = Column(
    "origin",
    "string",
    "fit: solved with the model; fold_in: solved later on fixed factors; held_out: from withheld plays, to evaluate.",
)

USER_FACTORS = Table(
    name="user_factors",
    comment="Factors of users: x_u of the factorisation.",
    lifetime="run",
    key=("run_id", "user_idx"),
    columns=(_RUN, _USER_IDX, Column("factors", "array<float>", "x_u: `wmf.rank` values."), _ORIGIN),
    partition_by=("run_id",),
    constraints={"origin_known": "origin IN ('fit', 'fold_in')"},
)

TRACK_FACTORS = Table(
    name="track_factors",
    comment="Factors of tracks: y_i of the factorisation. Only origin = 'fit' or 'fold_in' may be ranked.",
    lifetime="run",
    key=("run_id", "track_idx"),
    columns=(_RUN, _TRACK_IDX, Column("factors", "array<float>", "y_i: `wmf.rank` values."), _ORIGIN),
    partition_by=("run_id",),
    constraints={"origin_known": "origin IN ('fit', 'fold_in', 'held_out')"},
)

MEL = Table(
    name="mel",
    comment="Log-mel spectrogram of one crop of a track, under one set of mel settings.",
    lifetime="derived",
    key=("track_id", "crop", "settings_sha256"),
    columns=(
        Column("track_id", "string", "As in tracks or the manifest."),
        Column("crop", "int", "Number of the track's window: 0, 1, ..."),
        Column("settings_sha256", "string", "Hash of the mel settings that the row depends on."),
        Column("mel", "array<float>", "Row-major n_mels x n_frames, dB with reference 1."),
        Column("n_mels", "int", "Number of mel filters."),
        Column("n_frames", "int", "Number of frames."),
        Column("sample_rate", "int", "Hz, after resampling."),
        Column("offset_s", "double", "Start of the window in the file, seconds."),
        Column("duration_s", "double", "Decodable length of the file, seconds; of several Ogg streams, the first."),
        Column("audio_uri", "string", "The file that was read."),
        Column("file_size", "bigint", "Bytes; a file with the same audio_uri, size and mtime counts as unchanged."),
        Column("file_mtime", "timestamp", "Modification time of the file, UTC."),
        Column("content_sha256", "string", "Hash of the decoded window's samples at the native rate."),
    ),
    constraints={"mel_shape": "cardinality(mel) = n_mels * n_frames"},
)

EXAMPLES = Table(
    name="examples",
    comment="Input of the batch readers: one row per track with a target, in equal row groups.",
    lifetime="run",
    key=("run_id", "track_idx"),
    columns=(
        _RUN,
        Column("split", "string", "train, validation or test."),
        Column("shard", "int", "0, 1, ...: equal part of the split; one file, one Parquet row group."),
        _TRACK_IDX,
        Column(
            "mel", "array<float>", "As in mel, crop after crop; zeros if has_mel is 0 (readers need equal lengths)."
        ),
        Column("has_mel", "int", "1 if the track has a mel row, else 0."),
        Column(
            "artist_index", "int", "Row of the artist embedding; 0 = an artist without training tracks, 1 = no artist."
        ),
        Column("year_index", "int", "Row of the year embedding; 0 = a year without training tracks, 1 = no year."),
        Column("tag_indices", "array<int>", "Rows of the tag embedding, padded to equal length with 0 = none."),
        Column("tag_weights", "array<float>", "Weights of tag_indices, squares summing to 1; 0 for padding."),
        Column("target", "array<float>", "Track factors on their original scale."),
    ),
    partition_by=("run_id", "split", "shard"),
    constraints={"split_known": "split IN ('train', 'validation', 'test')"},
    read_as_files=True,
)

PREDICTED_FACTORS = Table(
    name="predicted_factors",
    comment="Factors predicted from content, for every track with features.",
    lifetime="run",
    key=("run_id", "track_idx"),
    columns=(
        _RUN,
        _TRACK_IDX,
        Column("factors", "array<float>", "Predicted y_i on the original factor scale: a mean of the next two."),
        Column("network", "array<float>", "What the network predicts; null with train.model=ridge.", nullable=True),
        Column(
            "ridge",
            "array<float>",
            "What the ridge regression on the same inputs predicts, for a training track from other tracks.",
        ),
        Column(
            "wmf_run_id",
            "string",
            "The wmf run whose basis the factors have; topn leaves out predictions in another basis.",
        ),
    ),
    partition_by=("run_id",),
)

BLENDED_TRACK_FACTORS = Table(
    name="blended_track_factors",
    comment="Factors of every track, from its plays and its content together.",
    lifetime="run",
    key=("run_id", "track_idx"),
    columns=(
        _RUN,
        _TRACK_IDX,
        Column("factors", "array<float>", "y_i: `wmf.rank` values, in the basis of the wmf run."),
        Column(
            "listeners",
            "int",
            "Number of users whose plays the factors rest on; 0: on content alone.",
        ),
    ),
    partition_by=("run_id",),
)

RECOMMENDATIONS = Table(
    name="recommendations",
    comment="The top-N list of every user; `recommendations_current` holds the served lists.",
    lifetime="run",
    key=("run_id", "user_idx", "position"),
    columns=(
        _RUN,
        _USER_IDX,
        Column("position", "int", "1 = best."),
        Column("track_id", "string", "The listed track."),
        Column(
            "score",
            "float",
            "x_u . y_i (calibrated length for cold tracks); popularity lists: share of plays.",
        ),
        Column(
            "source",
            "string",
            "Whose plays the track's factors rest on: cold (nobody's), light (1 to 3 users'), warm (more users'); or "
            "popularity (the user has no factors).",
        ),
    ),
    partition_by=("run_id",),
    constraints={
        "position_from_1": "position >= 1",
        "source_known": "source IN ('cold', 'light', 'warm', 'popularity')",
    },
)

REPEATS = replace(
    RECOMMENDATIONS,
    name="repeats",
    comment="A second list of every user (`topn.repeats`): of the tracks that the user has heard, the best now.",
)

SPLITS = Table(
    name="splits",
    comment="Held-out plays, and the split of every track. A play that is not listed is a training play.",
    lifetime="run",
    key=("run_id", "kind", "track_idx", "user_idx"),
    columns=(
        _RUN,
        Column("kind", "string", "play: one user-track pair; track: a whole track."),
        _TRACK_IDX,
        Column("user_idx", "int", "Dense index of the user; -1 if kind is track."),
        Column("split", "string", "train, validation or test; plays are listed only for validation and test."),
    ),
    partition_by=("run_id",),
    constraints={
        "split_known": "split IN ('train', 'validation', 'test')",
        "kind_known": "kind IN ('play', 'track')",
    },
)

METRICS = Table(
    name="metrics",
    comment="Figures that jobs report: losses, curves, ranking metrics. Never null; 0 or '' if a column doesn't apply.",
    lifetime="lake",
    key=("run_id", "job", "model", "protocol", "slice", "metric", "k", "step", "seed"),
    columns=(
        _RUN,
        Column("job", "string", "Job that measured it."),
        Column("model", "string", "Model or baseline measured, such as blocked, fusion, popularity, same_artist."),
        Column("protocol", "string", "none, strict or paper."),
        Column(
            "slice",
            "string",
            "all, catalogue, warm, cold, head, tail; or train, validation, test for losses and errors.",
        ),
        Column("metric", "string", "Such as loss, recall, ndcg, auc, rmse."),
        Column("k", "int", "Cut-off of the list; 0 if none applies."),
        Column("step", "int", "Iteration or epoch; 0 if none applies."),
        Column("seed", "bigint", "Seed of the measured model; 0 if none applies."),
        Column("value", "double", "The figure."),
    ),
    partition_by=("job",),
)

USER_METRICS = Table(
    name="user_metrics",
    comment="Ranking metrics of each user, whose means over users are in metrics; written if evaluation.per_user.",
    lifetime="run",
    key=("run_id", "user_idx", "model", "slice", "metric", "k"),
    columns=(
        _RUN,
        _USER_IDX,
        Column("model", "string", "As in metrics."),
        Column("slice", "string", "As in metrics; users that a slice leaves out have no rows in it."),
        Column("metric", "string", "precision, recall, f1, hit_rate, map, ndcg, mrr; on the slice cold also auc."),
        Column("k", "int", "Cut-off of the list; 0 for auc."),
        Column("value", "double", "The user's value."),
    ),
    partition_by=("run_id",),
)

RELEASES = Table(
    name="releases",
    comment="All releases: which runs were served, since when and why. Rows are only added; the newest is served.",
    lifetime="lake",
    key=("release",),
    columns=(
        Column("release", "bigint", "1 for the first release of the lake; the largest is served."),
        Column("run_ids", "map<string,string>", "Table -> run_id whose rows are served."),
        Column(
            "published_by", "string", "The topn run that was published when it succeeded, or the command and its user."
        ),
        Column("previous", "bigint", "Release that was served before; null for the first.", nullable=True),
        Column("since", "timestamp", "When it was published, UTC."),
        Column("reason", "string", "Reason: success of a topn run, a promotion, or a rollback to a release."),
    ),
    constraints={"release_from_1": "release >= 1"},
)

RUNS = Table(
    name="runs",
    comment="The run ledger: job, settings, table versions read and written, and outcome of every run.",
    lifetime="lake",
    key=("run_id", "job"),
    columns=(
        _RUN,
        Column("job", "string", "Stage that ran, such as ingest, wmf or topn."),
        Column(
            "parent", "string", "run_id of the run that started it, such as a pipeline; otherwise null.", nullable=True
        ),
        _BATCH,
        Column("protocol", "string", "evaluation.protocol of the run."),
        Column("settings", "string", "All settings as JSON; credentials in URIs are masked."),
        Column("inputs", "map<string,bigint>", "Delta version of each table read; -1 if the table did not exist."),
        Column(
            "fingerprints",
            "map<string,bigint>",
            "Setting -> hash of path, size and time of files outside the lake; ETUDE_USER_KEY -> hash by that key.",
        ),
        Column("outputs", "map<string,bigint>", "Delta version of each table written, also by an earlier attempt."),
        Column("upstream", "map<string,array<string>>", "Job -> run_ids of its runs whose rows were read."),
        Column("row_counts", "map<string,bigint>", "Rows in and out, by name."),
        Column("facts", "map<string,string>", "Further keys of the JSON line: name -> value as JSON."),
        Column("started_at", "timestamp", "UTC."),
        Column("ended_at", "timestamp", "UTC; null while running.", nullable=True),
        Column("status", "string", "running, succeeded or failed; it stays running if the process is killed."),
        Column("error", "string", "First line of the error of a failed run.", nullable=True),
        Column("attempt", "int", "1 for the first attempt of this run_id and job."),
        Column("earlier_errors", "array<string>", "Errors of earlier attempts, oldest first."),
        Column("package_version", "string", "Version of etude that ran."),
    ),
    partition_by=("job",),
    constraints={"status_known": "status IN ('running', 'succeeded', 'failed')"},
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        PLAYS, INGESTED_FILES, REJECTS, TRACKS, USERS, INTERACTIONS, SPLITS, USER_FACTORS, TRACK_FACTORS, MEL, EXAMPLES,
        PREDICTED_FACTORS, BLENDED_TRACK_FACTORS, RECOMMENDATIONS, REPEATS, METRICS, USER_METRICS,
        RELEASES, RUNS,
    )
}  # fmt: skip
