"""Test sound: every style variable is audible in any 3 s of the piece."""

import numpy as np
import pytest

from etude.demo.latent import STYLE
from etude.demo.render import mode_of, render

RATE = 8000


def style(**variables: float) -> np.ndarray:
    return np.array([variables.get(name, 0.0) for name in STYLE])


def spectrum(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    return np.fft.rfftfreq(len(samples), 1 / RATE), power / power.sum()


def centroid(samples: np.ndarray) -> float:
    hertz, power = spectrum(samples)
    return float((hertz * power).sum())


def flatness(samples: np.ndarray) -> float:
    power = spectrum(samples)[1] + 1e-15
    return float(np.exp(np.log(power).mean()) / power.mean())


def flicker(samples: np.ndarray) -> float:
    """Return the standard deviation of the level in dB over blocks of 30 ms."""
    blocks = samples[: len(samples) // 240 * 240].reshape(-1, 240)
    return float(np.std(10 * np.log10((blocks**2).mean(axis=1) + 1e-9)))


def resonance(samples: np.ndarray) -> float:
    hertz, power = spectrum(samples)
    return float(power[(hertz > 1500) & (hertz < 3500)].sum())


@pytest.mark.parametrize(
    ("variable", "measure", "sign"),
    [
        ("register", centroid, 1), ("brightness", centroid, 1), ("resonance", resonance, 1), ("noise", flatness, 1),
        ("sustain", flicker, -1),
    ],
)  # fmt: skip
def test_a_window_anywhere_tells_the_variable(variable: str, measure, sign: int) -> None:
    for seed in range(3):
        low, high = (
            render(style(**{variable: value}), 5, RATE, 12.0, np.random.default_rng(seed)) for value in (-1.5, 1.5)
        )
        for start in (0, 4 * RATE, 9 * RATE):
            window = slice(start, start + 3 * RATE)
            assert sign * (measure(high[window]) - measure(low[window])) > 0, (seed, start)


def onsets(samples: np.ndarray) -> int:
    """Count rises of the level by more than half between blocks of 20 ms."""
    level = np.sqrt((samples[: len(samples) // 160 * 160].reshape(-1, 160) ** 2).mean(axis=1))
    return int((level[1:] > 1.5 * level[:-1] + 1e-3).sum())


@pytest.mark.parametrize("variable", ["tempo", "density"])
def test_faster_and_denser_pieces_have_more_onsets(variable: str) -> None:
    short = {"sustain": -1.5, "noise": -2.0}
    slow, fast = (
        sum(
            onsets(render(style(**{variable: value}, **short), 0, RATE, 10.0, np.random.default_rng(n)))
            for n in range(4)
        )
        for value in (-1.5, 1.5)
    )
    assert fast > 1.2 * slow


def test_mode_and_key_choose_the_notes() -> None:
    assert mode_of(style(mode=-0.1)) == "minor"
    assert mode_of(style(mode=0.1)) == "major"

    def chroma(**variables: float) -> np.ndarray:
        samples = render(
            style(brightness=-2, noise=-2, register=0.5, **variables), 0, RATE, 20.0, np.random.default_rng(1)
        )
        hertz, power = spectrum(samples)
        heard = (hertz > 120) & (hertz < 2000)
        pitch = np.rint(69 + 12 * np.log2(hertz[heard] / 440)).astype(int) % 12
        return np.bincount(pitch, power[heard], minlength=12)

    major, minor = chroma(mode=1.0), chroma(mode=-1.0)
    assert major[4] > 2 * minor[4]  # E is in C major, not in C minor
    assert minor[3] > 2 * major[3]  # E flat is in C minor


@pytest.mark.parametrize("extreme", [-3.0, 3.0])
@pytest.mark.parametrize("rate", [8000, 44100])
def test_samples_fit_and_are_the_same_for_the_same_chance(extreme: float, rate: int) -> None:
    first, again = (render(np.full(8, extreme), 11, rate, 3.25, np.random.default_rng(9)) for _ in range(2))
    assert first.shape == (round(3.25 * rate),)
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert 0.01 < np.abs(first).max() <= 0.951
    np.testing.assert_array_equal(first, again)
