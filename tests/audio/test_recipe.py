import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from etude.audio.recipe import Recipe, crop_offset, position, positions


@given(st.integers(), st.text(), st.integers(0, 1000))
def test_a_position_lies_in_0_1_and_depends_on_nothing_else(seed, track_id, crop):
    assert 0.0 <= position(seed, track_id, crop) < 1.0
    assert position(seed, track_id, crop) == position(seed, track_id, crop)


def test_positions_never_change():
    # sha256("1:a:0") begins with 4887bbd6c1b2f205; every lake's rows depend on this value.
    assert abs(position(1, "a", 0) - 0x4887BBD6C1B2F205 / 2**64) < 1e-15
    assert len({position(1, "a", 0), position(2, "a", 0), position(1, "b", 0), position(1, "a", 1)}) == 4


def test_further_positions_start_with_the_usual_one_and_spread_evenly():
    few, many = positions(Recipe(offsets=5), "a", 0), positions(Recipe(offsets=50), "a", 0)
    assert few == many[:5]
    assert few[0] == position(1, "a", 0)
    assert all(0 <= place < 1 for place in many)
    gaps = np.diff([*sorted(many), min(many) + 1])
    assert max(gaps) < 2.7 / 50


def test_positions_are_spread_evenly():
    places = [position(1, f"track {i}", 0) for i in range(4000)]
    tenths = [sum(int(place * 10) == tenth for place in places) for tenth in range(10)]
    assert min(tenths) > 330
    assert max(tenths) < 470


def test_the_default_recipe_gives_128_x_47():
    assert (Recipe().n_samples, Recipe().n_mels, Recipe().n_frames) == (24_000, 128, 47)


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1e6), st.floats(0.1, 600))
def test_a_crop_lies_within_its_track(place, duration_s, crop_s):
    offset = crop_offset(place, duration_s, crop_s)
    assert 0.0 <= offset <= max(0.0, duration_s - crop_s)
