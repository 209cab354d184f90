"""Test names, titles and the two catalogues."""

import re

import numpy as np
import pandas as pd

from etude.config.demo import DemoSettings
from etude.demo.latent import STYLE, plant_tracks
from etude.demo.names import artist_names, ids, tag_texts, titles, track_ids


def test_the_second_catalogue_fills_what_the_first_lacks(corpus) -> None:
    first = pd.read_csv(corpus.folder / "catalogue/catalogue.csv").set_index("track_id")
    second = pd.read_csv(corpus.folder / "catalogue/library.csv").set_index("code")
    truth = pd.read_parquet(corpus.folder / "truth/tracks.parquet").set_index("track_id")
    expected = corpus.expected["catalogue"]
    assert (len(first), len(second)) == (expected["catalogue_rows"], expected["library_rows"])
    assert list(first.index) == list(truth.index)
    year = first.release_year.fillna(second.published.where(second.published > 0).reindex(first.index))
    assert year.isna().sum() == expected["without_release"]
    assert (year.dropna() == truth.release_year[year.notna()]).all()
    artist = first.artist_id.fillna(second.composer_code.reindex(first.index))
    assert artist.isna().sum() == expected["without_artist"]
    assert (artist.dropna() == truth.artist_id[artist.notna()]).all()
    tags = first.tags.fillna(second.subjects.reindex(first.index))
    assert tags.isna().sum() == expected["without_tags"]
    assert first[["release_year", "tags", "artist_id"]].isna().any().all()
    assert first.title.notna().all()


def test_titles_tell_key_and_mode_truly() -> None:
    tracks = plant_tracks(DemoSettings(tracks=300, users=5))
    made = titles(tracks, np.random.default_rng(0)).to_pylist()
    for title, key, style in zip(made, tracks.key, tracks.style, strict=True):
        tonic, mode = re.search(r" in ([A-G](?: flat| sharp)?) (major|minor), Op\. \d+ No\. \d+", title).groups()
        assert mode == ("major" if style[STYLE.index("mode")] > 0 else "minor")
        if key in (0, 9):
            assert tonic == {0: "C", 9: "A"}[key]
    assert any('"The ' in title for title in made)
    assert any("É" in title for title in made)


def test_names_and_ids_stay_unique_past_the_word_lists() -> None:
    names = artist_names(40_000, np.random.default_rng(0)).to_pylist()
    assert len(set(names)) == 40_000
    assert any(name.endswith(" III") for name in names)
    assert ids("u", 3, 4).to_pylist() == ["u0001", "u0002", "u0003"]
    assert track_ids(1_000_001)[0].as_py() == "t0000001"


def test_tags_come_most_important_first() -> None:
    tracks = plant_tracks(DemoSettings(tracks=200, users=5))
    texts = tag_texts(tracks, "|").to_pylist()
    assert {text.count("|") for text in texts} == {0, 1, 2, 3}
    assert [text.count("|") + 1 for text in texts] == (tracks.tags >= 0).sum(axis=1).tolist()
