"""Test that pseudonyms, hashes and normal names equal those of other tools, and that the key stays secret."""

import hashlib
from datetime import datetime, timezone

import pytest
from pyspark.sql import functions as F

from etude.errors import SettingsError
from etude.frames import small_frame
from etude.listening import identity
from etude.listening.identity import Pads, content_of, event_id, hmac_sha256, locator, normal_name, record_hash
from etude.pseudonym import key_id, pseudonym, user_key

IDS = ["user_000001", "é", "", "x" * 200, "日本", " blank "]


@pytest.mark.parametrize("key", [b"k", "schlüssel".encode(), b"x" * 64, b"y" * 65])
def test_hmac_is_pythons_hmac(spark, key):
    rows = identity.with_pads(small_frame(spark, [(each,) for each in IDS], "id string"), Pads.of(key))
    found = dict(rows.select("id", hmac_sha256(F.col("id"))).collect())
    assert found == {each: pseudonym(each, key) for each in IDS}


def test_the_key_and_its_pads_are_in_no_plan(spark):
    """Check the query plan, because EXPLAIN, the web UI and the event log print literals."""
    key = b"a very secret key indeed"
    pads = Pads.of(key)
    rows = identity.with_pads(small_frame(spark, [("u",)], "id string"), pads).select(hmac_sha256(F.col("id")))
    rows.collect()
    queries = rows._jdf.queryExecution()
    text = queries.toString() + queries.debug().toString() + repr(pads)
    mode = spark._jvm.org.apache.spark.sql.execution.ExplainMode
    text += "".join(queries.explainString(mode.fromString(name)) for name in ("extended", "codegen", "formatted"))
    assert "sha2" in text
    for secret in (key, pads.inner, pads.outer):
        for form in (secret.decode("latin-1"), secret.hex(), secret.hex().upper()):
            assert form not in text


def test_an_empty_key_is_refused_and_a_missing_one_means_none(monkeypatch):
    monkeypatch.setenv("ETUDE_USER_KEY", "")
    with pytest.raises(SettingsError, match="set but empty"):
        user_key()
    monkeypatch.delenv("ETUDE_USER_KEY")
    assert user_key() is None
    assert key_id(None) is None and key_id(b"a") != key_id(b"b")


def test_a_record_is_found_again_by_sha256sum(spark):
    raws = ["u\tt\t1", "", "é"]
    rows = small_frame(spark, [(each,) for each in raws], "raw string").select(
        "raw", record_hash(F.col("raw")).alias("record")
    )
    where = locator(F.lit("in/log.tsv@0123456789abcdef"), F.col("record"), F.lit(2))
    rows = rows.select("raw", where.alias("locator"), content_of(where).alias("content"))
    for raw, found, content in rows.collect():
        assert found == f"in/log.tsv@0123456789abcdef#{hashlib.sha256(raw.encode()).hexdigest()[:16]}.2"
        assert content == "0123456789abcdef"


def test_event_ids_do_not_change(spark):
    """Check fixed values: lakes store the ids, and another formula would ingest every play again."""
    at = datetime(2009, 5, 4, 23, 8, 57, 123456, timezone.utc)
    rows = small_frame(
        spark,
        [("u", "t", at, 1, None), ("u", "t", at, 1, "own"), ("u1", "", at, 1, None), ("u", "1", at, 1, None)],
        "user_id string, track_id string, played_at timestamp, play_count bigint, own string",
    )
    found = rows.select(event_id("log", False, F.col("own")), event_id("log", True, F.col("own"))).collect()

    def digest(*fields):
        return hashlib.sha256("".join(f"{len(f)}:{f}" for f in fields).encode()).hexdigest()[:32]

    assert found[0] == (digest("log", "u", "t", "1241478537123456", "1"), digest("log", "u", "t"))
    assert found[1][0] == digest("log", "own")
    assert found[2][0] != found[3][0]


def test_names_meet_in_their_normal_form(spark):
    cases = {
        "The  Beatles": "the beatles",
        "ＡＢＣ①": "abc1",
        "Sigur Rós": "sigur rós",
        "Sigur Ro\u0301s": "sigur rós",
        "AC/DC": "ac dc",
        " Guns N' Roses ": "guns n roses",
        "!!!": "!!!",
        "???": "???",
        "坂本龍一": "坂本龍一",
        "हिन्दी": "हिन्दी",
        "  ": None,
        None: None,
    }
    rows = small_frame(spark, [(each,) for each in cases], "name string")
    assert dict(rows.select("name", normal_name(F.col("name"))).collect()) == cases
