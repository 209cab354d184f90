"""etude runs, show, user, tables and sql: what they print, and how they fail."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from etude.cli import _aligned, _settings, sql
from etude.cli.main import main
from etude.config import Settings
from etude.errors import SettingsError
from etude.lake import Lake
from etude.pseudonym import pseudonym
from small_lake import SERVED


@pytest.fixture
def etude(capsys, small_lake, monkeypatch):
    """Runs a sub-command on the small lake; returns (exit status, standard output, standard error)."""
    monkeypatch.delenv("ETUDE_USER_KEY", raising=False)

    def run(*arguments):
        try:
            code = main([*arguments, "--lake", str(small_lake)])
        except SystemExit as stopped:
            code = stopped.code
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def test_runs_are_newest_first_with_the_served_ones_marked(etude):
    code, out, _ = etude("runs")
    lines = out.splitlines()
    assert code == 0
    assert lines[2].split()[:2] == ["night-2", "ingest"]
    assert "landing/log.csv: no such file" in lines[2]
    assert [line.split()[1:3] for line in lines if line.startswith("*")] == [
        ["prod", "topn"],
        ["prod", "train"],
        ["prod", "wmf"],
    ]


def test_runs_can_be_narrowed_and_say_what_they_leave_out(etude):
    code, out, _ = etude("runs", "--job", "wmf", "--limit", "1")
    assert code == 0
    assert "1 older runs are not shown" in out
    _, out, _ = etude("runs", "--status", "failed", "--json")
    (row,) = [json.loads(line) for line in out.splitlines()]
    assert (row["run_id"], row["seconds"], row["served"]) == ("night-2", 9.0, False)


def test_settings_stand_anywhere_on_the_line(etude, capsys, small_lake, tmp_path):
    for words in (
        ["runs", f"lake.root={small_lake}", "--limit", "1", "spark.snapshot_partitions=2"],
        ["show", "prod", "--json", f"lake.root={small_lake}"],
        ["user", f"lake.root={small_lake}", "bob"],
    ):
        assert main(words) == 0
    assert main(["runs", f"lake.root={tmp_path}/none", "--limit", "1"]) == 3
    assert main(["runs", "lake.rot=x"]) == 2
    assert "lake.rot: unknown setting" in capsys.readouterr().err


def test_show_leads_from_the_lists_to_the_plays(etude):
    code, out, _ = etude("show", "prod")
    assert code == 0
    made = out.partition("How topn prod was made")[2]
    order = [made.index(text) for text in ("topn prod", "train prod", "wmf prod", "ingest prod", "plays v2")]
    assert order == sorted(order)
    assert "wmf.rank = 4  (default 100)" in out
    assert "wmf.seed" not in out
    assert "Served since 2026-01-31 03:00:00 UTC by release 1: examples, predicted_factors, recommendations" in out


def test_show_tells_of_failures(etude):
    code, out, _ = etude("show", "night-2")
    assert code == 0
    assert "error: landing/log.csv: no such file" in out
    assert "error of attempt 1: killed" in out


def test_show_as_json(etude):
    _, out, _ = etude("show", "prod", "--json")
    found = json.loads(out)
    assert found["made"]["sources"][0]["job"] == "train"
    assert found["jobs"][0]["differing"]["wmf.rank"] == {"value": 4, "default": 100}
    assert found["served"] == sorted(SERVED)


@pytest.mark.parametrize("arguments", [("show", "nope"), ("show", "prod", "--job", "pipeline"), ("user", "zed")])
def test_what_is_not_there_exits_3_with_one_line(etude, arguments):
    code, out, err = etude(*arguments)
    assert (code, out) == (3, "")
    assert len(err.splitlines()) == 1


def test_without_a_lake_every_command_exits_3_and_makes_nothing(etude, tmp_path, capsys):
    for arguments in (("runs",), ("show", "x"), ("user", "x"), ("tables",), ("sql", "SELECT 1")):
        assert main([*arguments, "--lake", str(tmp_path / "none")]) == 3
        assert "no lake at" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_user_shows_id_and_list(etude):
    code, out, _ = etude("user", "bob", "--limit", "2")
    assert code == 0
    assert "user_idx        1" in out
    assert [line.split()[0] for line in out.splitlines()[-2:]] == ["1", "2"]
    assert "Study no. 10" in out
    assert "Study no. 4" not in out


def test_user_reads_the_id_from_standard_input(etude, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("fay\n"))
    _, out, _ = etude("user", "-", "--json")
    found = json.loads(out)
    assert (found["user_idx"], found["run_id"]) == (5, "prod")
    assert {place["source"] for place in found["recommendations"]} == {"popularity"}


def test_an_unknown_users_id_is_not_repeated(etude, monkeypatch):
    for key in (None, "secret"):
        if key:
            monkeypatch.setenv("ETUDE_USER_KEY", key)
        code, _, err = etude("user", "mallory@example.org")
        assert code == 3
        assert "mallory" not in err
        assert "secret" not in err


def test_the_pseudonym_is_hmac_sha256_in_hex():
    # RFC 4231, test case 2.
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert pseudonym("what do ya want for nothing?", b"Jefe") == expected


def test_tables_and_their_columns(etude):
    code, out, _ = etude("tables")
    assert code == 0
    assert next(line for line in out.splitlines() if line.startswith("recommendations")).split()[1:3] == ["2", "48"]
    _, out, _ = etude("tables", "users")
    assert "key: user_id" in out
    assert etude("tables", "nope")[0] == 2


@pytest.mark.parametrize(
    "text",
    [
        "DELETE FROM users",
        "insert into users values ('x', 1)",
        "-- note\nDROP TABLE users",
        "CREATE TABLE x (a int)",
        "",
    ],
)
def test_statements_that_write_are_refused_before_spark_starts(text):
    with pytest.raises(SettingsError, match="only queries"):
        sql.check_reads(text)


@pytest.mark.parametrize(
    "text", ["SELECT 1", "  -- why\n /* and */ with a as (select 1) select * from a", "(SELECT 1)"]
)
def test_queries_pass(text):
    sql.check_reads(text)


@pytest.mark.slow
def test_sql_knows_tables_and_views_by_bare_and_by_full_name(spark, small_lake):
    for name in ("recommendations_current", "etude.recommendations_current"):
        text = f"SELECT user_id, title FROM {name} WHERE position = 1 ORDER BY user_idx"
        columns, rows, more = sql.fetch(spark, str(small_lake), text, 2)
        assert columns == ["user_id", "title"]
        assert [tuple(row) for row in rows] == [("ann", "Study no. 1"), ("bob", "Study no. 2")]
        assert more


def test_a_write_behind_with_is_refused(spark, small_lake):
    text = "WITH a AS (SELECT * FROM users) INSERT INTO etude.users SELECT * FROM a"
    with pytest.raises(SettingsError, match="would write"):
        sql.fetch(spark, str(small_lake), text, 2)
    assert Lake(str(small_lake)).count("users") == 6


def test_a_mistake_in_the_query_is_one_line(spark, small_lake):
    for text in (
        "SELECT nope FROM users",
        "SELECT FROM WHERE",
        "SELECT * FROM nope",
        "SELECT * FROM users WHERE user_idx = 'U1'",
    ):
        with pytest.raises(SettingsError) as caught:
            sql.fetch(spark, str(small_lake), text, 2)
        assert len(str(caught.value).splitlines()) == 1


def test_a_json_object_has_no_two_columns_of_one_name(spark, small_lake):
    text = "SELECT r.track_id, t.track_id FROM recommendations_current r JOIN tracks t USING (track_id)"
    assert sql.fetch(spark, str(small_lake), text, 2)[0] == ["track_id", "track_id"]
    with pytest.raises(SettingsError, match="two columns are named 'track_id'; give one of them another name by AS"):
        sql.fetch(spark, str(small_lake), text, 2, as_json=True)


def test_rows_as_table_csv_and_json(capsys):
    columns, rows = ["name", "n", "tags"], [("Ünë", 1, ["a"]), ("long\x1b[31m", None, None)]
    assert list(sql.show(columns, rows, True, 2, "table", set())) == [
        "only the first 2 rows are shown; --limit N shows more, --limit 0 all"
    ]
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["name", "n", "tags"]
    assert "\x1b" not in "".join(table)
    list(sql.show(columns, rows, False, 2, "csv", set()))
    assert capsys.readouterr().out.splitlines()[1] == 'Ünë,1,"[""a""]"'
    (said,) = sql.show(columns, [], False, 2, "table", {"recommendations_current"})
    assert said.startswith("no rows")


def test_columns_align_for_wide_characters():
    lines = _aligned.aligned(["t", "n"], [("音楽", 5), ("ab", 12)]).splitlines()
    assert lines[2] == "音楽   5"
    assert lines[3] == "ab    12"


@pytest.mark.slow
def test_the_installed_command_answers_a_query(small_lake, small_session):
    command = Path(sys.executable).with_name("etude")
    query = "SELECT count(*) AS places FROM recommendations_current"
    done = subprocess.run(
        [str(command), "sql", query, "--csv", f"lake.root={small_lake}"],
        capture_output=True,
        text=True,
        timeout=600,
        env=small_session,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "places\n24\n"
    assert not (small_lake / "_checkpoints").exists()


def test_an_id_that_looks_like_a_setting_is_an_id(etude):
    code, _, said = etude("user", "john.doe=1")
    assert code == 3 and "no such user" in said


def test_blanks_around_an_id_are_removed_as_ingest_does(etude):
    assert etude("user", " bob ") == etude("user", "bob")


def test_the_sections_are_those_of_the_settings():
    assert set(_settings.SECTIONS) == set(Settings.model_fields)
