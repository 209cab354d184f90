"""Test presets, guesses and mappings of columns, including missing and wrong settings."""

import pytest

from etude.config import load_settings
from etude.errors import DataCheckError, SettingsError
from etude.listening.columns import Wanted, guess, resolve, wanted_columns
from etude.listening.formats import catalogue_format, log_format
from etude.listening.layout import Layout


def listening(*overrides):
    return load_settings([], [f"listening.{each}" for each in overrides]).listening


def layout(*names, width=None):
    return Layout(tuple(names), width or len(names))


def wanted(columns, *names, seen_before=False, lenient=False, kind="log"):
    return wanted_columns("listening.columns", kind, columns, layout(*names), lenient, seen_before)


def test_a_preset_names_its_columns_and_settings_win_over_it():
    form, columns = log_format(listening("format=taste-profile"))
    assert (form.header, form.delimiter, form.quote, form.width) == (False, "\t", "", 3)
    assert columns == {"user": 0, "track": 1, "play_count": 2}
    form, columns = log_format(listening("format=taste-profile", "columns.track=2", "delimiter=;", "header=true"))
    assert (form.header, form.delimiter, columns["track"]) == (True, ";", 2)


@pytest.mark.parametrize(
    ("overrides", "header"),
    [
        ((), True),
        (("columns.user=who", "columns.track=what"), True),
        (("columns.user=0", "columns.track=1"), False),
        (("columns.user=0", "columns.track=1", "header=true"), True),
    ],
)
def test_columns_by_position_mean_no_header_unless_said(overrides, header):
    assert log_format(listening(*overrides))[0].header is header


def test_several_tag_columns_become_roles_of_their_own():
    settings = load_settings(
        [], ["catalogue.sources=[{path: a.csv, columns: {track: id, tags: [t, u], tag_weights: [n, m]}}]"]
    )
    _, columns = catalogue_format(settings.catalogue.sources[0])
    assert columns == {"track": "id", "tags.0": "t", "tags.1": "u", "tag_weights.0": "n", "tag_weights.1": "m"}


def test_catalogues_of_one_name_are_refused():
    paths = "{path: /a/genres.csv}, {path: /b/genres.csv.gz"
    with pytest.raises(SettingsError, match=r"catalogue\.sources=.*several sources have the name genres"):
        load_settings([], [f"catalogue.sources=[{paths}}}]"])
    assert load_settings([], [f"catalogue.sources=[{paths}, name: more}}]"]).catalogue.sources[1].known_as == "more"


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("user_id", "song_id", "play_count"), {"user": "user_id", "track": "song_id", "play_count": "play_count"}),
        (("User", "Track ID", "Listen Count"), {"user": "User", "track": "Track ID", "play_count": "Listen Count"}),
        (("ts", "item_id", "userid"), {"user": "userid", "track": "item_id", "played_at": "ts"}),
        (("#id", "gender", "country"), {}),
        (("userId", "trackId", "playedAt"), {"user": "userId", "track": "trackId", "played_at": "playedAt"}),
        (("UserID", "SongID", "Played At UTC"), {"user": "UserID", "track": "SongID", "played_at": "Played At UTC"}),
        (
            ("user_id", "track_id", "eventTimestamp"),
            {"user": "user_id", "track": "track_id", "played_at": "eventTimestamp"},
        ),
        (
            ("endTime", "artistName", "trackName", "msPlayed", "username"),
            {"user": "username", "artist": "artistName", "title": "trackName", "played_at": "endTime"},
        ),
        (
            ("username", "artist", "track", "date"),
            {"user": "username", "artist": "artist", "title": "track", "played_at": "date"},
        ),
        (
            ("user", "track", "track_id", "artist", "event_id"),
            {"user": "user", "track": "track_id", "artist": "artist", "title": "track", "event": "event_id"},
        ),
    ],
)
def test_obvious_names_are_guessed(names, found):
    assert guess(names, "log") == found


def test_a_guess_is_marked_and_a_given_mapping_is_not_extended_by_guesses():
    assert wanted({}, "user_id", "track_id", "timestamp").guessed
    given = wanted({"user": "user_id", "track": "track_id"}, "user_id", "track_id", "timestamp")
    assert not given.guessed and given.columns == {"user": "user_id", "track": "track_id"}


def test_a_column_that_would_change_what_rows_mean_is_not_passed_over_in_silence():
    given = {"user": "friend", "track": 1}
    names = ("friend", "piece", "Listens", "date", "mood")
    assert wanted(given, *names).overlooked == {"play_count": "Listens", "played_at": "date"}
    assert wanted({**given, "play_count": 2, "played_at": "date"}, *names).overlooked == {}
    assert wanted({**given, "play_count": "mood"}, *names).overlooked == {"played_at": "date"}
    assert wanted({}, "user", "track", "listens").overlooked == {}


def test_what_cannot_be_guessed_is_said_with_the_columns_there_are():
    with pytest.raises(
        SettingsError, match=r"no column looks like the user.*listening\.columns\.user.*who, what, mood"
    ):
        wanted({}, "who", "what", "mood")
    with pytest.raises(SettingsError) as caught:
        wanted({}, "piece", "Listen Count", "friend")
    one, more = str(caught.value).split("; if one column is set, none is guessed, so set these too: ")
    assert one.endswith("set listening.columns.user to one of piece, Listen Count, friend")
    assert more == "listening.columns.track=piece 'listening.columns.play_count=Listen Count'"
    with pytest.raises(DataCheckError, match="no column looks like the user"):
        wanted({}, "who", "what", "mood", seen_before=True)
    with pytest.raises(SettingsError, match=r"listening\.columns\.track: required"):
        wanted({"user": "who"}, "who", "what")


@pytest.mark.parametrize("record", [("user_000001", "song", "x"), ("alice@example.org", "song", "x"), ("al", "", "x")])
def test_a_first_record_in_the_place_of_names_does_not_reach_the_message(record):
    """Check a file without header that is read as if it had one: its first line is a user's record."""
    with pytest.raises(SettingsError, match=r"3 columns \(positions 0 to 2\).*header=false") as caught:
        wanted({}, *record)
    assert not any(cell and cell in str(caught.value).split("3 columns")[1].split() for cell in record)


@pytest.mark.parametrize(
    "names", [("user_id", "USER_ID", "track"), ("user id", "track", "userId"), ("user", "user", "track")]
)
def test_two_columns_of_one_name_are_not_guessed(names):
    with pytest.raises(SettingsError, match=r"all look like the user; set listening\.columns"):
        wanted({}, *names)


def test_a_name_that_two_columns_have_is_said_and_exact_spelling_tells_them_apart():
    asked = wanted({"user": "USER_ID", "track": "t"}, "user_id", "USER_ID", "t")
    assert resolve(asked, {"a": layout("user_id", "USER_ID", "t")}) == {"a": {"user": 1, "track": 2}}
    with pytest.raises(SettingsError, match="user=user: several such column"):
        resolve(wanted({"user": "user", "track": "t"}, "user", "user", "t"), {"a": layout("user", "user", "t")})


def test_messages_tell_the_separator_and_stay_short():
    blanks = Layout(("user track n",), 1, delimiter="\t")
    with pytest.raises(SettingsError, match="no separator splits its first lines: set delimiter"):
        wanted_columns("listening.columns", "log", {}, blanks, False)
    tabs = Layout((), 4, delimiter="\t")
    with pytest.raises(SettingsError, match="positions 0 to 3, separated by tabs"):
        resolve(Wanted("listening.columns", {"user": 7}), {"a": tabs})
    with pytest.raises(SettingsError) as caught:
        wanted({}, *(f"column {letter * 300}" for letter in "abcdef"))
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize(
    ("kind", "role"), [("double", "user"), ("array", "track"), ("struct", "user"), ("Parquet's UUID", "user")]
)
def test_a_type_of_no_use_is_refused_in_every_format(kind, role):
    columns = {"user": "u", "track": "t"}
    types = tuple(kind if name == role[0] else "string" for name in "ut")
    with pytest.raises(DataCheckError, match=f"column '{role[0]}' is {kind}; {role} needs"):
        resolve(wanted(columns, "u", "t"), {"a": Layout(("u", "t"), 2, types)})


def test_columns_in_names_of_folders_follow_the_files_own():
    found = Layout(("user", "track"), 2, partitions=("date",))
    asked = wanted_columns("listening.columns", "log", {}, found, False)
    assert asked.columns == {"user": "user", "track": "track", "played_at": "date"}
    assert resolve(asked, {"a": found}) == {"a": {"user": 0, "track": 1, "played_at": 2}}


def test_under_a_key_no_name_reaches_a_message():
    first = layout("alice", "wonderwall", "oasis")
    keyed = Wanted("listening.columns", {"user": "who"}, keyed=True)
    for ask in (
        lambda: wanted_columns("listening.columns", "log", {}, first, False, keyed=True),
        lambda: wanted_columns("listening.columns", "log", {"user": "who"}, first, False, keyed=True),
        lambda: resolve(keyed, {"a": first}),
    ):
        with pytest.raises(SettingsError, match="positions 0 to 2") as caught:
            ask()
        assert not any(name in str(caught.value) for name in first.names)


def test_artist_and_title_stand_for_a_track_id():
    columns = {"user": "u", "artist": "a", "title": "t"}
    assert wanted(columns, "u", "a", "t").columns == columns


def test_places_are_found_by_name_in_any_order_and_spelling():
    asked = wanted({"user": "User ID", "track": "song"}, "User ID", "song")
    places = resolve(asked, {"a": layout("User ID", "song"), "b": layout("x", "song", "user_id")})
    assert places == {"a": {"user": 0, "track": 1}, "b": {"user": 2, "track": 1}}


@pytest.mark.parametrize(
    ("layouts", "seen_before", "error"),
    [
        ({"a": layout("u", "x")}, False, SettingsError),
        ({"a": layout("u", "x")}, True, DataCheckError),
        ({"a": layout("u", "x"), "b": layout("u", "t")}, False, DataCheckError),
        ({"a": layout(width=1)}, False, SettingsError),
    ],
)
def test_a_missing_column_is_a_wrong_setting_or_changed_data(layouts, seen_before, error):
    asked = wanted({"user": "u", "track": "t"}, "u", "t", seen_before=seen_before)
    with pytest.raises(error, match=r"listening\.columns\."):
        resolve(asked, layouts)


def test_json_records_may_leave_keys_out():
    asked = wanted({"user": "u", "track": "t", "title": "name"}, "u", "t", lenient=True)
    assert resolve(asked, {"a": layout("u", "t")}) == {"a": {"user": "u", "track": "t", "title": "name"}}
