"""Small universes first: every window once, in an order that the strength sets."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from eigenfolio.errors import ParameterError
from eigenfolio.training.curriculum import CurriculumSamples
from eigenfolio.training.loop import LoopOptions
from eigenfolio.training.mixture import WindowSource
from eigenfolio.training.pretraining import SpectralOptions, SpectralTraining, train_spectral
from eigenfolio.training.spectral import SpectralBatch, SpectralSamples

ORDER = torch.from_numpy(np.random.default_rng(0).permutation(60))


class Windows:
    """Rows 0 to 59 of which every third is large and every third small; a batch holds one size."""

    sizes = torch.tensor([20, 100, 400]).repeat(20)

    def __len__(self):
        return 60

    def take(self, rows):
        return self.sizes[rows]

    def batches(self, order, batch_size):
        cut = [piece for n in (20, 100, 400) for piece in order[self.sizes[order] == n].split(batch_size)]
        place = {int(row): at for at, row in enumerate(order)}
        return sorted(cut, key=lambda rows: place[int(rows[0])])


def sizes_in_order(strength):
    samples = CurriculumSamples(Windows(), Windows.sizes, strength)
    batches = samples.batches(ORDER, 4)
    assert sorted(torch.cat(batches).tolist()) == list(range(60))
    return np.array([int(samples.take(rows)[0]) for rows in batches])


def test_at_full_strength_an_epoch_goes_from_the_smallest_universes_to_the_largest():
    assert_array_equal(sizes_in_order(1.0), np.repeat([20, 100, 400], 5))


def test_without_strength_the_order_is_the_random_one():
    samples = CurriculumSamples(Windows(), Windows.sizes, 0.0)
    for one, other in zip(samples.batches(ORDER, 4), Windows().batches(ORDER, 4), strict=True):
        assert_array_equal(one, other)


def test_the_stronger_the_earlier_come_small_universes():
    places = [np.flatnonzero(sizes_in_order(strength) == 20).mean() for strength in (0.0, 0.3, 0.6, 1.0)]
    assert places == sorted(places, reverse=True)
    assert places[-1] < places[0]


@pytest.mark.parametrize(("strength", "sizes"), [(1.5, Windows.sizes), (-0.1, Windows.sizes), (0.5, torch.ones(3))])
def test_what_makes_no_order_is_refused(strength, sizes):
    with pytest.raises(ParameterError):
        CurriculumSamples(Windows(), sizes, strength)


def test_training_sees_small_universes_first_and_with_no_strength_has_the_same_bits_as_without(monkeypatch):
    source = WindowSource(name="p", counts={6: 8, 9: 8, 12: 8}, change="population", max_lookback=80)
    options = SpectralTraining(
        n_members=1,
        validation_share=0.3,
        sources=(source,),
        network=SpectralOptions(n_units=4),
        loop=LoopOptions(max_epochs=1, batch_size=4),
    )
    seen = []
    take = SpectralSamples.take

    def watched(self, rows):
        batch: list[SpectralBatch] = take(self, rows)
        seen.append(max(part.n_assets for part in batch))
        return batch

    monkeypatch.setattr(SpectralSamples, "take", watched)
    digests = {}
    for strength in (0.0, 1.0):
        seen.clear()
        made = train_spectral({}, None, options=options.model_copy(update={"curriculum": strength}), seed=1)
        digests[strength] = made.bundle.digest
        steps = "".join(f"[{n}]" for n in seen)
        assert ("[6][6][9][9][12][12]" in steps) == (strength == 1.0)
    assert digests[0.0] == train_spectral({}, None, options=options, seed=1).bundle.digest != digests[1.0]
