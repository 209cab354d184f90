"""Define the columns of judged records, for tests that build such frames directly."""

COLUMNS = (
    "file string, first_batch date, last_batch date, record bigint, reason string, raw string, event_id string, "
    "user_id string, track_id string, played_at timestamp, play_count bigint, title string, artist string, "
    "artist_id string"
)
