"""Define every Delta table of the lake: columns, key, partitions, constraints, and the meaning of each column.

`ingest` turns raw logs into plays and rejects, gives users and tracks their dense indices, and aggregates plays into
interactions. `wmf` decides the splits and turns interactions into factors. `mel` turns audio into mel rows. `train`
joins factors, mel and catalogue into examples and predicts factors of tracks from their content. `topn` ranks tracks
for users. Each job adds its figures to metrics and a row to runs; `releases` says which runs are served. Which stage
reads and writes which table is in etude.stages.
"""

from __future__ import annotations

from etude.lake.schema import Column, Table

_RUN = Column("run_id", "string", "Run that made the row; its rows count once `runs` says succeeded.")
_USER_IDX = Column("user_idx", "int", "Dense index of the user, given once in `users`.")
_TRACK_IDX = Column("track_idx", "int", "Dense index of the track, given once in `tracks`.")
_BATCH = Column("batch_date", "date", "The batch (UTC date) that brought the row.")

PLAYS = Table(
    name="plays",
    comment="Cleaned plays: one row an event (events logs) or a user-track count so far (snapshot logs).",
    lifetime="lake",
    key=("event_id",),
    columns=(
        Column(
            "event_id",
            "string",
            "128-bit hash, hex. Events: of source, user, track, played_at, play_count. Snapshots: source, user, track.",
        ),
        Column("user_id", "string", "The log's user id, or its HMAC-SHA256 (hex) where ETUDE_USER_KEY is set."),
        Column("track_id", "string", "The log's track id, or `name:` + hash of normalised artist and title."),
        Column("played_at", "timestamp", "UTC; null where the log has no time.", nullable=True),
        Column("play_count", "bigint", "How many plays the row stands for; at least 1."),
        Column("source", "string", "Name of the log (`listening.source`)."),
        _BATCH,
        Column("counted_on", "date", "Batch whose count stands; later than batch_date where a snapshot counted anew."),
        Column("file", "string", "File of the row: its path below the log's folder, @, start of its content hash."),
        Column("record", "bigint", "64-bit hash of the raw record; as in a reject's locator, where it stands in hex."),
    ),
    partition_by=("batch_date",),
    constraints={"play_count_positive": "play_count >= 1"},
)

INGESTED_FILES = Table(
    name="ingested_files",
    comment="Files of logs that batches have taken, known by content, so that later batches leave them alone.",
    lifetime="lake",
    key=("source", "path", "content_sha256"),
    columns=(
        Column("source", "string", "Name of the log (`listening.source`)."),
        Column("path", "string", "Where the file lay."),
        Column("content_sha256", "string", "SHA-256 of its bytes; HMAC-SHA256 where ETUDE_USER_KEY is set."),
        Column("file", "string", "Its name in plays and locators."),
        Column("size", "bigint", "Bytes."),
        Column("modified_at", "timestamp", "Modification time, UTC; with path and size it tells an unchanged file."),
        Column("first_batch_date", "date", "Earliest batch that saw the content; its rows belong there."),
        Column("last_batch_date", "date", "Latest batch that read it; later than the first for snapshots only."),
        Column("taken_at", "timestamp", "When the content was first taken, UTC; later plays in it are refused."),
        Column(
            "columns",
            "map<string,string>",
            "What its columns were taken for, role -> name or position; played_at, play_count and event can't come or "
            "go from batch to batch.",
        ),
        Column("key_id", "string", "Which ETUDE_USER_KEY was set; null where none was.", nullable=True),
    ),
)

REJECTS = Table(
    name="rejects",
    comment="Every refused input with its cause; what a job read equals what it kept plus what stands here.",
    lifetime="lake",
    key=("job", "source", "locator"),
    columns=(
        Column("job", "string", "The job that refused the input."),
        Column("source", "string", "Log, catalogue or manifest the input came from."),
        Column(
            "locator",
            "string",
            "File name + hash of the raw record + ordinal among equal records; mel: track#crop.",
        ),
        Column(
            "raw",
            "string",
            "The raw record without its user field; mel: JSON of path, size, time and a hash of the settings tried.",
            nullable=True,
        ),
        Column(
            "reason",
            "string",
            "One word for the cause, such as bad_timestamp, negative_count, duplicate, too_short.",
        ),
        Column("detail", "string", "What exactly was wrong, for a person.", nullable=True),
        _BATCH,
    ),
    partition_by=("job",),
)

TRACKS = Table(
    name="tracks",
    comment="Union of log and catalogue: one row a track ever seen, with its stable dense index.",
    lifetime="lake",
    key=("track_id",),
    columns=(
        Column("track_id", "string", "Id of the track; a lake holds one family of ids."),
        Column("title", "string", "Title as the first catalogue source that has one writes it.", nullable=True),
        Column(
            "artist_id",
            "string",
            "Id of the artist, or `name:` + hash of the normalised name.",
            nullable=True,
        ),
        Column("artist_name", "string", "Artist as the catalogue writes it.", nullable=True),
        Column("release_year", "int", "Year of release; null where unknown (0 in the source).", nullable=True),
        Column("tags", "array<string>", "Tags or genres, most important first; empty where none.", nullable=True),
        Column("tag_weights", "array<float>", "Weights of tags, same length, summing to 1.", nullable=True),
        Column("audio_uri", "string", "Where the audio file lies, if any.", nullable=True),
        _TRACK_IDX,
        Column(
            "origins",
            "map<string,string>",
            "Which catalogue each filled column comes from; `log`, or `artist_name` where artist_id was derived.",
        ),
    ),
    constraints={"track_idx_not_negative": "track_idx >= 0"},
)

USERS = Table(
    name="users",
    comment="One row a user ever seen, with the stable dense index.",
    lifetime="lake",
    key=("user_id",),
    columns=(Column("user_id", "string", "As in plays: raw or HMAC."), _USER_IDX),
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
        Column("play_count", "bigint", "r of the formulas: plays of the track by the user."),
        Column("first_played_at", "timestamp", "UTC; null where the log has no time.", nullable=True),
        Column("last_played_at", "timestamp", "UTC; null where the log has no time.", nullable=True),
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
    comment="x_u of the factorisation.",
    lifetime="run",
    key=("run_id", "user_idx"),
    columns=(_RUN, _USER_IDX, Column("factors", "array<float>", "x_u, `wmf.rank` numbers."), _ORIGIN),
    partition_by=("run_id",),
    constraints={"origin_known": "origin IN ('fit', 'fold_in')"},
)

TRACK_FACTORS = Table(
    name="track_factors",
    comment="y_i of the factorisation; rank candidates with origin = 'fit' or 'fold_in' only.",
    lifetime="run",
    key=("run_id", "track_idx"),
    columns=(_RUN, _TRACK_IDX, Column("factors", "array<float>", "y_i, `wmf.rank` numbers."), _ORIGIN),
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
        Column("crop", "int", "0, 1, ...: which of the track's windows."),
        Column("settings_sha256", "string", "Hash of the mel settings that shaped the row."),
        Column("mel", "array<float>", "Row-major n_mels x n_frames, dB with reference 1."),
        Column("n_mels", "int", "Number of mel filters."),
        Column("n_frames", "int", "Number of frames."),
        Column("sample_rate", "int", "Hz, after resampling."),
        Column("offset_s", "double", "Start of the window in the file, seconds."),
        Column("duration_s", "double", "Decodable length of the file, seconds."),
        Column("audio_uri", "string", "The file that was read."),
        Column("file_size", "bigint", "Bytes; with audio_uri and file_mtime it tells unchanged audio."),
        Column("file_mtime", "timestamp", "Modification time of the file, UTC."),
        Column("content_sha256", "string", "Hash of the decoded window's samples at the native rate."),
    ),
    constraints={"mel_shape": "cardinality(mel) = n_mels * n_frames"},
)

EXAMPLES = Table(
    name="examples",
    comment="What the batch readers read: one row a track that has a target, in equal row groups.",
    lifetime="run",
    key=("run_id", "track_idx"),
    columns=(
        _RUN,
        Column("split", "string", "train, validation or test."),
        Column("shard", "int", "0, 1, ...: equal part of the split; one file, one Parquet row group."),
        _TRACK_IDX,
        Column(
            "mel", "array<float>", "As in mel, crop after crop; zeros where has_mel is 0 (readers need equal lengths)."
        ),
        Column("has_mel", "int", "1 where the track has a mel row, else 0."),
        Column(
            "artist_index", "int", "Row of the artist embedding; 0 = an artist without training tracks, 1 = no artist."
        ),
        Column("year_index", "int", "Row of the year embedding; 0 = a year without training tracks, 1 = no year."),
        Column("tag_indices", "array<int>", "Rows of the tag embedding, padded with 0 = none to equal length."),
        Column("tag_weights", "array<float>", "Weights of tag_indices, 0 where padded."),
        Column("target", "array<float>", "Track factors on their original scale."),
    ),
    partition_by=("run_id", "split", "shard"),
    constraints={"split_known": "split IN ('train', 'validation', 'test')"},
)

PREDICTED_FACTORS = Table(
    name="predicted_factors",
    comment="Factors the network gives, for every track with features.",
    lifetime="run",
    key=("run_id", "track_idx"),
    columns=(
        _RUN,
        _TRACK_IDX,
        Column("factors", "array<float>", "Predicted y_i on the original factor scale."),
        Column("wmf_run_id", "string", "The wmf run whose space the factors live in; topn refuses any other."),
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
        Column("track_id", "string", "The recommended track."),
        Column(
            "score",
            "float",
            "x_u . y_i (calibrated length for cold tracks); popularity lists: share of plays.",
        ),
        Column(
            "source",
            "string",
            "warm (fitted factors), cold (predicted factors) or popularity (user without factors).",
        ),
    ),
    partition_by=("run_id",),
    constraints={
        "position_from_1": "position >= 1",
        "source_known": "source IN ('warm', 'cold', 'popularity')",
    },
)

SPLITS = Table(
    name="splits",
    comment="Which plays and tracks were held out. A play not listed here is a training play.",
    lifetime="run",
    key=("run_id", "kind", "track_idx", "user_idx"),
    columns=(
        _RUN,
        Column("kind", "string", "play: one user-track pair; track: a whole track."),
        _TRACK_IDX,
        Column("user_idx", "int", "Dense index of the user; -1 where kind is track."),
        Column("split", "string", "train, validation or test; for plays only validation and test are listed."),
    ),
    partition_by=("run_id",),
    constraints={
        "split_known": "split IN ('train', 'validation', 'test')",
        "kind_known": "kind IN ('play', 'track')",
    },
)

METRICS = Table(
    name="metrics",
    comment="Every figure a job reports: losses, curves, ranking metrics. Never null: what doesn't apply is 0 or ''.",
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
            "all, warm, cold, head, tail; or train, validation, test for losses and errors.",
        ),
        Column("metric", "string", "Such as loss, recall, ndcg, auc, rmse."),
        Column("k", "int", "Cut-off of the list; 0 where none applies."),
        Column("step", "int", "Iteration or epoch; 0 where none applies."),
        Column("seed", "bigint", "Seed of what was measured; 0 where none applies."),
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
        Column("slice", "string", "all, warm, cold, head or tail; without rows of users that it doesn't count."),
        Column("metric", "string", "precision, recall, f1, hit_rate, map, ndcg, mrr; on the slice cold also auc."),
        Column("k", "int", "Cut-off of the list; 0 for auc."),
        Column("value", "double", "The user's value."),
    ),
    partition_by=("run_id",),
)

RELEASES = Table(
    name="releases",
    comment="What has been served, release by release; rows are only added, and the last one is served now.",
    lifetime="lake",
    key=("release",),
    columns=(
        Column("release", "bigint", "1 for the first release of the lake; the largest is served."),
        Column("run_ids", "map<string,string>", "Table -> run_id of the rows that the release serves."),
        Column("published_by", "string", "The topn run that published itself, or the command and its user."),
        Column("previous", "bigint", "The release that was served until then; null for the first.", nullable=True),
        Column("since", "timestamp", "When it was published, UTC."),
        Column("reason", "string", "Why: a topn run that succeeded, a promotion, a rollback to a release."),
    ),
    constraints={"release_from_1": "release >= 1"},
)

RUNS = Table(
    name="runs",
    comment="The run ledger: what ran, with which settings, from which table versions, to which, and how it ended.",
    lifetime="lake",
    key=("run_id", "job"),
    columns=(
        _RUN,
        Column("job", "string", "The stage that ran, such as ingest, wmf or topn."),
        Column("parent", "string", "run_id of the run that started it, such as a pipeline; else null.", nullable=True),
        _BATCH,
        Column("protocol", "string", "evaluation.protocol of the run."),
        Column("settings", "string", "All settings as JSON, secrets redacted."),
        Column("inputs", "map<string,bigint>", "Delta version of each table read; -1 if it did not exist yet."),
        Column(
            "fingerprints",
            "map<string,bigint>",
            "Hash of path, size and modification time of what was read from outside the lake, by setting.",
        ),
        Column(
            "outputs", "map<string,bigint>", "Delta version that each table written had then; an earlier attempt's too."
        ),
        Column("upstream", "map<string,array<string>>", "Job -> run_ids of its runs whose rows were read."),
        Column("row_counts", "map<string,bigint>", "Rows in and out, by name."),
        Column("facts", "map<string,string>", "What else the job noted for its JSON line: name -> value as JSON."),
        Column("started_at", "timestamp", "UTC."),
        Column("ended_at", "timestamp", "UTC; null while running.", nullable=True),
        Column("status", "string", "running, succeeded or failed."),
        Column("error", "string", "One line, for a failed run.", nullable=True),
        Column("attempt", "int", "1 for the first try of this run_id and job."),
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
        PREDICTED_FACTORS, RECOMMENDATIONS, METRICS, USER_METRICS, RELEASES, RUNS,
    )
}  # fmt: skip
