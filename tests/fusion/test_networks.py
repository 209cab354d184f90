"""Test the contract of all networks, and the differences between them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from etude.config.train import TrainSettings
from etude.errors import SettingsError
from etude.fusion.moments import Moments
from etude.fusion.networks import build_network
from etude.fusion.networks.inputs import all_crops, hide_known, one_crop, to_tensors
from etude.fusion.shape import ExampleShape
from etude.fusion.vocabulary import NONE, UNKNOWN

SHAPE = ExampleShape(n_mels=8, n_frames=12, crops=1, artists=5, years=4, tags=6, tags_per_track=3, rank=7)
MODELS = ("fusion", "autoencoder", "cnn", "cnn_lstm", "embeddings")
SMALL = {
    "channels": (4, 5, 6), "lstm_units": 7, "audio_size": 8, "mlp": (9, 10),
    "artist_size": 3, "year_size": 2, "tag_size": 4,
}  # fmt: skip


def settings(**changed) -> TrainSettings:
    return TrainSettings(**{**SMALL, **changed})


def batch(rows: int = 6, shape: ExampleShape = SHAPE, seed: int = 0) -> dict[str, torch.Tensor]:
    random = np.random.default_rng(seed)
    return to_tensors(
        {
            "track_idx": np.arange(rows, dtype=np.int32),
            "mel": random.normal(-40, 10, (rows, shape.mel_size)).astype("f4"),
            "has_mel": np.ones(rows, dtype=np.int32),
            "artist_index": random.integers(2, shape.artists, rows).astype("i4"),
            "year_index": random.integers(2, shape.years, rows).astype("i4"),
            "tag_indices": random.integers(1, shape.tags, (rows, shape.tags_per_track)).astype("i4"),
            "tag_weights": np.full((rows, shape.tags_per_track), 1 / 3, dtype="f4"),
        },
        shape,
    )


def network(model: str, seed: int = 1, shape: ExampleShape = SHAPE, **changed):
    torch.manual_seed(seed)
    return build_network(settings(model=model, **changed), shape).eval()


@pytest.mark.parametrize("model", MODELS)
def test_gives_one_finite_row_of_factors_a_track(model):
    found = network(model)(one_crop(batch()))
    assert found.shape == (6, SHAPE.rank)
    assert found.isfinite().all()
    assert (found < 0).any()


@pytest.mark.parametrize("model", MODELS)
def test_reads_the_columns_it_names_and_no_others(model):
    net, rows = network(model), one_crop(batch())
    needed = {name: values for name, values in rows.items() if name in net.inputs}
    assert torch.equal(net(needed), net(rows))
    for name in needed:
        with pytest.raises(KeyError):
            net({other: values for other, values in needed.items() if other != name})


@pytest.mark.parametrize("model", MODELS)
def test_a_row_doesnt_depend_on_its_neighbours(model):
    net, rows = network(model), one_crop(batch())
    alone = net({name: values[2:3] for name, values in rows.items()})
    assert torch.allclose(net(rows)[2:3], alone, atol=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_every_weight_learns(model):
    net = network(model)
    rows = one_crop(batch(64))
    rows["has_mel"] = (torch.arange(64) % 2).int()
    rows["tag_weights"][::2] = 0
    net.loss(rows, torch.ones(64, SHAPE.rank)).backward()
    silent = [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.abs().sum()]
    assert silent == []


@pytest.mark.parametrize("model", ("autoencoder", "cnn", "cnn_lstm"))
@pytest.mark.parametrize("frames", (1, 7, 47))
def test_two_dimensional_convolutions_and_any_number_of_frames(model, frames):
    shape = ExampleShape(8, frames, 1, 5, 4, 6, 3, 7)
    for convolution in ("time", "2d"):
        net = network(model, shape=shape, convolution=convolution)
        assert net(one_crop(batch(3, shape))).shape == (3, 7)
        assert net.loss(one_crop(batch(3, shape)), torch.zeros(3, 7)).isfinite()


def test_factors_dont_shape_the_code_of_an_autoencoder_and_silent_tracks_neither():
    net, rows = network("autoencoder"), one_crop(batch())
    net(rows).square().sum().backward()
    assert {name for name, weight in net.named_parameters() if weight.grad is not None} == {
        *("no_audio", "output.weight", "output.bias"),
    }
    rows["has_mel"] = torch.tensor([1, 1, 1, 0, 0, 0], dtype=torch.int32)
    alone = {name: values[:3] for name, values in rows.items()}
    assert torch.allclose(net.audio.loss(*net._sound(rows)), net.audio.loss(*net._sound(alone)))
    rows["has_mel"] = torch.zeros(6, dtype=torch.int32)
    assert net.audio.loss(*net._sound(rows)) == 0


def test_an_autoencoder_learns_to_rebuild_the_sound():
    net, rows = network("autoencoder", channels=(16, 16, 16), audio_size=32), one_crop(batch(8))
    net.set_moments({"mel": Moments(np.full(8, -40, "f4"), np.full(8, 10, "f4"))})
    adam = torch.optim.Adam(net.parameters(), lr=0.01)
    errors = []
    for _ in range(300):
        adam.zero_grad()
        net.loss(rows, torch.zeros(8, SHAPE.rank)).backward()
        adam.step()
        errors.append(net.audio.loss(*net._sound(rows)).item())
    assert errors[-1] < errors[0] / 4


def test_the_sound_is_summed_up_by_mean_and_maximum_over_time_and_the_lstm_or_the_lstm_alone():
    sizes = {
        (model, alone): network(model, lstm_alone=alone).audio.dense.in_features
        for model in ("cnn", "cnn_lstm")
        for alone in (False, True)
    }
    pooled, units = 2 * network("cnn").audio.convolutions[-3].out_channels, network("fusion").audio.lstm.hidden_size
    assert sizes == {
        ("cnn", False): pooled,
        ("cnn", True): pooled,
        ("cnn_lstm", False): pooled + units,
        ("cnn_lstm", True): units,
    }


def test_sound_of_a_track_without_sound_is_not_looked_at():
    net, rows = network("fusion"), one_crop(batch())
    rows["has_mel"] = torch.tensor([1, 1, 1, 0, 0, 0], dtype=torch.int32)
    louder = {**rows, "mel": rows["mel"] + 10}
    before, after = net(rows), net(louder)
    assert not torch.allclose(before[:3], after[:3])
    assert torch.equal(before[3:], after[3:])


def test_without_mel_rows_fusion_has_no_audio_tower_and_audio_models_refuse():
    deaf = ExampleShape(0, 0, 1, 5, 4, 6, 3, 7)
    assert network("fusion", shape=deaf).inputs == ("artist_index", "year_index", "tag_indices", "tag_weights")
    for model in ("autoencoder", "cnn", "cnn_lstm"):
        with pytest.raises(SettingsError, match="no mel rows"):
            network(model, shape=deaf)
    with pytest.raises(SettingsError, match="nothing to learn from"):
        network("fusion", shape=deaf, fields=())


def test_fields_can_be_left_out():
    assert network("embeddings", fields=("year",)).inputs == ("year_index",)
    assert network("fusion", fields=()).inputs == ("mel", "has_mel")


def test_tags_are_a_weighted_sum_and_no_tags_are_row_zero():
    net, rows = network("embeddings", fields=("tags",)), one_crop(batch(2))
    rows["tag_indices"] = torch.tensor([[2, 3, 0], [0, 0, 0]])
    rows["tag_weights"] = torch.tensor([[0.75, 0.25, 0.0], [0.0, 0.0, 0.0]])
    table = net.metadata.fields[0].table.weight
    found = net.metadata.fields[0](rows)
    assert torch.allclose(found[0], 0.75 * table[2] + 0.25 * table[3])
    assert torch.allclose(found[1], table[0])


def test_statistics_travel_with_the_weights_and_bring_factors_back():
    net = network("embeddings")
    mean, std = np.arange(7, dtype="f4"), np.full(7, 2, dtype="f4")
    net.set_moments({"target": Moments(mean, std)})
    other = network("embeddings", seed=2)
    other.load_state_dict(net.state_dict())
    standardised = other(one_crop(batch()))
    assert torch.allclose(other.factors(standardised), standardised * 2 + torch.arange(7))
    assert torch.allclose(other.standardise(other.factors(standardised)), standardised, atol=1e-5)


def test_mel_is_normalised_bin_by_bin():
    plain, rows = network("cnn"), one_crop(batch())
    shifted = network("cnn")
    shifted.set_moments({"mel": Moments(np.full(8, 5, "f4"), np.full(8, 2, "f4"))})
    assert torch.allclose(plain(rows), shifted({**rows, "mel": rows["mel"] * 2 + 5}), atol=1e-4)


def test_literal_relu_gives_no_negative_factors():
    net = network("embeddings", output_activation="relu")
    net.set_moments({"target": Moments(np.linspace(-1, 1, 7, dtype="f4"), np.full(7, 0.5, "f4"))})
    factors = net.factors(net(one_crop(batch(50))))
    assert factors.min() >= -1e-6
    assert (factors.abs() < 1e-6).any()


def test_hiding_makes_values_unknown_at_the_rate_asked_for():
    torch.manual_seed(3)
    rows = one_crop(batch(4000))
    hidden = hide_known(rows, 0.25)
    for name in ("has_mel", "artist_index", "year_index"):
        assert (hidden[name] == 0).float().mean() == pytest.approx(0.25, abs=0.03)
    gone = hidden["tag_weights"].sum(dim=1) == 0
    assert gone.float().mean() == pytest.approx(0.25, abs=0.03)
    assert (hidden["tag_indices"][gone] == 0).all()
    assert torch.equal(hidden["tag_indices"][~gone], rows["tag_indices"][~gone])
    both = ((hidden["artist_index"] == 0) & (hidden["year_index"] == 0)).float().mean()
    assert both == pytest.approx(0.0625, abs=0.02)


def test_hiding_leaves_what_a_track_lacks():
    rows = one_crop(batch(4000))
    rows["artist_index"][::2] = NONE
    hidden = hide_known(rows, 0.25)["artist_index"]
    assert (hidden[::2] == NONE).all()
    assert (hidden[1::2] == UNKNOWN).float().mean() == pytest.approx(0.25, abs=0.04)


def test_of_several_crops_training_draws_one_and_prediction_takes_the_mean():
    shape = ExampleShape(8, 12, 3, 5, 4, 6, 3, 7)
    rows, net = batch(200, shape), network("fusion", shape=shape)
    torch.manual_seed(5)
    drawn = one_crop(rows)["mel"]
    which = [[torch.equal(drawn[i], rows["mel"][i, crop]) for crop in range(3)] for i in range(200)]
    assert np.array(which).sum(axis=1).tolist() == [1] * 200
    assert np.array(which).sum(axis=0).min() > 40
    single = [net({**rows, "mel": rows["mel"][:, crop]}) for crop in range(3)]
    assert torch.allclose(all_crops(net, rows), sum(single) / 3, atol=1e-6)
