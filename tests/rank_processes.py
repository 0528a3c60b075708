"""Several gloo processes on one machine, started from a server that has imported torch once."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import socket
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "stanley.models.trained",
        "stanley.cli",
        "torch.distributed.fsdp",
        "torch._dynamo",
        "pydantic",
        "numpy",
        "pytest",
    ]
)
LIMIT = 60  # seconds


def on_ranks(size: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `function(*arguments)` returns on each rank; where it raises, the exception it raised.

    None for a rank that ended without a word.
    """
    port = free_port()
    ours, processes = [], []
    for rank in range(size):
        receiver, sender = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(
            target=run, args=(sender, rank, size, port, function, arguments), daemon=True
        )
        process.start()
        sender.close()
        ours.append(receiver)
        processes.append(process)
    results = [result_of(receiver) for receiver in ours]
    for process in processes:
        process.join(LIMIT)
        assert process.exitcode is not None, "a rank hangs"
    return results


def result_of(receiver: Connection) -> Any:
    assert receiver.poll(LIMIT), "a rank hangs"
    try:
        return pickle.loads(receiver.recv_bytes())
    except EOFError:
        return None


def run(
    sender: Connection,
    rank: int,
    size: int,
    port: int,
    function: Callable[..., Any],
    arguments: Any,
) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    try:
        result = function(*arguments)
    except (Exception, KeyboardInterrupt) as error:
        result = error
    # tensors as bytes, not as shared memory that ends with this process
    sender.send_bytes(pickle.dumps(result))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
