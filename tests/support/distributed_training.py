"""What the processes of tests/training/test_devices.py run; processes that start afresh import it by name."""

import os

import torch
from tiny_training import TinyNetwork, squared_error, tiny_samples

from eigenfolio.artifacts import CheckpointStore
from eigenfolio.errors import ParameterError
from eigenfolio.training.guards import TrainingError
from eigenfolio.training.loop import LoopOptions, TensorSamples, fit

N_ODD = 323  # ten batches of 32 and one of 3, too few for two processes to share


def train_tiny(fabric, folder=None, *, norm=False, members=1, max_epochs=4, stop=None, precision="32"):
    """Weights after training, losses by epoch, and how often a checkpoint was written by this process."""
    networks = [TinyNetwork(seed, norm=norm, dropout=0.2 if norm else 0.0) for seed in range(members)]
    device = torch.device("cpu") if fabric is None else fabric.device

    def there(samples):
        return TensorSamples({name: tensor.to(device) for name, tensor in samples.tensors.items()})

    written = []

    class Store(CheckpointStore):
        def save(self, *args, **kwargs):
            written.append(kwargs["epoch"])
            super().save(*args, **kwargs)

    def on_epoch(epoch):
        if epoch == stop:
            raise TrainingError(f"stopped after epoch {epoch}")

    histories = fit(
        networks,
        there(tiny_samples(N_ODD, seed=0)),
        squared_error,
        validation=there(tiny_samples(160, seed=1)),
        options=LoopOptions(max_epochs=max_epochs, batch_size=32, learning_rate=1e-2, precision=precision),
        seed=3,
        fabric=fabric,
        store=None if folder is None else Store(folder, identity={"task": "tiny"}),
        on_epoch=on_epoch,
    )
    return {
        "weights": [{name: t.cpu() for name, t in network.state_dict().items()} for network in networks],
        "losses": [[(record.train, record.validation) for record in history.epochs] for history in histories],
        "steps": [history.n_steps for history in histories],
        "written": written,
    }


def every_rank(fabric, *runs):
    """What every process got from a series of runs, each given by the options of `train_tiny`."""
    mine = [train_tiny(fabric, **run) for run in runs]
    gathered = [None] * fabric.world_size
    torch.distributed.all_gather_object(gathered, mine)
    return gathered


def stop_early(fabric, folder, epoch):
    """Training that ends with an error after an epoch, in every process."""
    train_tiny(fabric, folder, stop=epoch)


def one_fails(fabric):
    """The last process fails while the others wait for it."""
    if fabric.global_rank == fabric.world_size - 1:
        raise ParameterError(f"rank {fabric.global_rank} of {fabric.world_size} fails")
    fabric.barrier()


def threads(fabric, n_bytes):
    """Threads of this process, and a result larger than any pipe."""
    return torch.get_num_threads(), os.getpid(), b"x" * n_bytes
