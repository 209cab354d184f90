"""Measure how well each source predicts tracks that nobody has played, with ridge regression as the model.

The protocol is strict: a fifth of the tracks is withheld from the factorisation, and each user's ranking of them is
scored by AUC. The audio doesn't depend on the shares, so one set of pieces serves all settings.
"""

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import rankdata

from etude.config.demo import DemoSettings
from etude.demo.latent import TAG_COUNT, Tracks, generator, plant_learners, plant_tracks
from etude.demo.listens import chunks
from etude.demo.render import render

pytestmark = pytest.mark.slow
SMALL = DemoSettings(users=1200, tracks=700, artists=60, events=90_000, unheard_tracks=0.0)
RANK, REGULARIZATION, ALPHA = 24, 20.0, 5.0
ONLY_AUDIBLE = {"share_audible": 0.9, "share_artist": 0.0, "share_tags": 0.0, "share_year": 0.0}


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    """Compute mean and spread of each mel band over 3 s of each piece, (tracks, 256); other tests cover the files."""
    tracks = plant_tracks(SMALL)
    return np.stack([_mel_statistics(tracks, number) for number in range(SMALL.tracks)])


def _mel_statistics(tracks: Tracks, number: int) -> np.ndarray:
    import librosa

    samples = render(tracks.style[number], int(tracks.key[number]), 8000, 3.0, generator(SMALL.seed, "worth", number))
    mel = librosa.feature.melspectrogram(y=samples, sr=8000, n_fft=1024, hop_length=512, window="hamming", n_mels=128)
    decibels = librosa.power_to_db(mel, ref=1.0, top_db=None)
    return np.concatenate([decibels.mean(axis=1), decibels.std(axis=1)])


def worth(settings: DemoSettings, sound: np.ndarray) -> dict[str, float]:
    """Return the cold-track AUC of audio, metadata, both and the folded-in factors."""
    from implicit.als import AlternatingLeastSquares
    from sklearn.linear_model import RidgeCV

    tracks, learners = plant_tracks(settings), plant_learners(settings)
    made = list(chunks(settings, tracks, learners)[1])
    user, track, count = (np.concatenate([getattr(p, name) for p in made]) for name in ("user", "track", "play_count"))
    counts = sparse.csr_matrix((count.astype(float), (user, track)), shape=(settings.users, settings.tracks))
    confidence = counts.copy()
    confidence.data = ALPHA * np.log1p(counts.data)
    order = np.random.default_rng(0).permutation(settings.tracks)
    test, train = order[: settings.tracks // 5], order[settings.tracks // 5 :]
    fitted = confidence[:, train].copy()
    fitted.data += 1
    model = AlternatingLeastSquares(RANK, regularization=REGULARIZATION, iterations=15, random_state=1, num_threads=2)
    model.fit(fitted.tocsr(), show_progress=False)
    x, y = model.user_factors, model.item_factors
    heard = (sound - sound[train].mean(axis=0)) / sound[train].std(axis=0)
    known = metadata(tracks, settings)
    predicted = {"audio": heard, "metadata": known, "both": np.hstack([0.1 * heard, known])}
    found = {
        name: auc(
            x @ RidgeCV(np.logspace(-1, 4, 11)).fit(features[train], y).predict(features[test]).T, counts[:, test]
        )
        for name, features in predicted.items()
    }
    folded = np.stack([fold_in(x, confidence[:, item].toarray()[:, 0]) for item in test])
    return {**found, "factors": auc(x @ folded.T, counts[:, test])}


def metadata(tracks: Tracks, settings: DemoSettings) -> np.ndarray:
    artist = np.eye(settings.artist_count)[tracks.artist]
    tags = np.zeros((settings.tracks, TAG_COUNT))
    weight = np.where(tracks.tags >= 0, 1 / np.arange(1, 5), 0.0)
    np.add.at(tags, (np.arange(settings.tracks)[:, None], tracks.tags), weight)
    years = np.exp(-0.5 * ((tracks.year[:, None] - np.arange(1955, 2030, 8)) / 8.0) ** 2)
    return np.hstack([artist, tags, years])


def fold_in(x: np.ndarray, extra: np.ndarray) -> np.ndarray:
    """Solve one track in closed form (Hu, Koren & Volinsky 2008); `extra` is c - 1 of every user."""
    played = np.flatnonzero(extra)
    some = x[played]
    left = x.T @ x + REGULARIZATION * np.eye(RANK) + (some.T * extra[played]) @ some
    return np.linalg.solve(left, (1 + extra[played]) @ some)


def auc(scores: np.ndarray, counts: sparse.csr_matrix) -> float:
    played = counts.toarray() > 0
    hits = played.sum(axis=1)
    ranks = (rankdata(scores, axis=1) * played).sum(axis=1)
    scored = (hits > 0) & (hits < played.shape[1])
    each = (ranks - hits * (hits + 1) / 2)[scored] / (hits * (played.shape[1] - hits))[scored]
    return float(each.mean())


def test_at_the_defaults_every_source_is_worth_something_and_both_more(sound: np.ndarray) -> None:
    found = worth(SMALL, sound)
    assert found["audio"] > 0.62, found
    assert found["metadata"] > 0.66, found
    assert found["both"] > max(found["audio"], found["metadata"]) + 0.015, found
    assert found["factors"] > found["both"] + 0.05, found


def test_with_nothing_audible_sound_is_worth_nothing(sound: np.ndarray) -> None:
    found = worth(SMALL.model_copy(update={"share_audible": 0.0}), sound)
    assert abs(found["audio"] - 0.5) < 0.06, found
    assert found["metadata"] > 0.62, found


def test_with_all_audible_sound_comes_near_the_bound(sound: np.ndarray) -> None:
    found = worth(SMALL.model_copy(update=ONLY_AUDIBLE), sound)
    assert found["audio"] - 0.5 > 0.5 * (found["factors"] - 0.5), found
    assert found["audio"] > found["metadata"] + 0.05, found


def test_with_everything_hidden_only_the_factors_know(sound: np.ndarray) -> None:
    nothing = {"share_audible": 0.0, "share_artist": 0.0, "share_tags": 0.0, "share_year": 0.0, "popularity": 0.0}
    found = worth(SMALL.model_copy(update=nothing), sound)
    for source in ("audio", "metadata", "both"):
        assert abs(found[source] - 0.5) < 0.06, found
    assert found["factors"] > 0.75, found
