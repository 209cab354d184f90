"""etude similar: the nearest tracks by the served factors."""

import json
import shutil

import numpy as np
import pytest

from etude.cli.main import main
from etude.cli.similar import similar
from etude.lake import Lake
from etude.vectors import Factors
from small_lake import fill


@pytest.fixture
def lake(small_lake, tmp_path):
    return Lake(shutil.copytree(small_lake, tmp_path / "lake").as_uri())


@pytest.fixture
def etude(lake, capsys):
    def run(*arguments):
        code = main(["similar", *arguments, "--lake", lake.root.removeprefix("file://")])
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def by_hand(rows, track):
    """The other tracks by falling cosine, computed one by one."""
    mine = np.array(rows[track])

    def cosine(other):
        return mine @ np.array(rows[other]) / np.linalg.norm(mine) / np.linalg.norm(rows[other])

    others = sorted(rows.keys() - {track}, key=lambda other: -cosine(other))
    return [(other, cosine(other)) for other in others]


def served(lake):
    """The factors of release 1: fitted ones, and predicted ones of the other tracks."""
    rows = {row["track_idx"]: row["factors"] for row in lake.look("predicted_factors", run_id="prod")}
    return rows | {row["track_idx"]: row["factors"] for row in lake.look("track_factors", run_id="prod")}


def test_the_nearest_tracks_come_first_with_their_names(etude, lake):
    code, out, _ = etude("T03", "--limit", "4", "--json")
    found = json.loads(out)
    assert (code, found["track_id"], found["title"], found["release"]) == (0, "T03", "Study no. 3", 1)
    wanted = by_hand(served(lake), 3)[:4]
    assert [row["track_id"] for row in found["similar"]] == [f"T{idx:02d}" for idx, _ in wanted]
    assert [row["similarity"] for row in found["similar"]] == pytest.approx([cosine for _, cosine in wanted], abs=1e-6)
    titles = {row["track_id"]: row["title"] for row in lake.look("tracks")}
    assert all(row["title"] == titles[row["track_id"]] for row in found["similar"])


def test_a_terminal_shows_a_table(etude):
    code, out, _ = etude("T00", "--limit", "2")
    assert code == 0
    assert out.splitlines()[0] == "track    T00, Study no. 0 by Ada"
    assert len(out.splitlines()) == 3 + 2 + 2


def test_blended_factors_are_taken_if_they_are_served(etude, lake):
    (release,) = lake.look("releases")
    release["run_ids"] = dict(release["run_ids"]) | {"blended_track_factors": "mixed"}
    lake.replace("releases", [release])
    fill(lake, "blended_track_factors", [("mixed", t, [1.0, float(t)], 5) for t in (0, 4, 9)])
    rows = json.loads(etude("T09", "--json")[1])["similar"]
    assert [row["track_id"] for row in rows] == ["T04", "T00"]


def test_an_alias_stands_for_its_track_and_is_no_neighbour(etude, lake):
    rows = lake.look("tracks")
    rows[1]["alias_of"] = "T02"
    lake.replace("tracks", rows)
    found = json.loads(etude("T01", "--json")[1])
    assert found["track_id"] == "T02"
    assert not {"T01", "T02"} & {row["track_id"] for row in found["similar"]}


@pytest.mark.parametrize(
    ("track", "said"), [("nobody's", 'no track "nobody\'s" in the lake'), ("T11", "T11 has no factors in release 1")]
)
def test_what_is_not_known_is_a_missing_input(etude, lake, track, said):
    lake.replace("predicted_factors", [], run_id="prod")
    code, _, error = etude(track)
    assert code == 3
    assert said in error


def test_without_a_release_there_is_nothing_to_compare(etude, lake):
    lake.replace("releases", [])
    code, _, error = etude("T01")
    assert (code, "no factors are served yet" in error) == (3, True)


def test_equal_neighbours_go_by_index_and_a_zero_has_no_direction():
    values = np.array([[1, 0], [0, 0], [2, 0], [-1, 0], [1, 0]], np.float32)
    nearest, cosines = similar(Factors(np.array([3, 5, 6, 8, 9], np.int32), values), 0, 10)
    assert nearest.tolist() == [6, 9, 5, 8]
    assert cosines.tolist() == [1, 1, 0, -1]
    alone, _ = similar(Factors(np.array([3], np.int32), values[:1]), 0, 10)
    assert alone.tolist() == []
