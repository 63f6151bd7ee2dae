"""The calls in one process, and what is refused. Several processes: test_launch.py."""

import socket

import pytest
import torch

from slowfast.utils import distributed


def test_every_call_works_alone():
    tensor = torch.tensor([1.0, 2.0])
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
    assert distributed.all_reduce(tensor) is tensor
    assert tensor.tolist() == [1.0, 2.0]
    assert distributed.gather_objects("a") == ["a"]
    assert distributed.broadcast_object("a") == "a"
    assert distributed.processes_on_this_host() == 1
    distributed.barrier()
    distributed.shutdown()


def test_model_alone_is_not_wrapped():
    model = torch.nn.Linear(1, 1)
    assert distributed.wrap(model, torch.device("cpu")) is model
    assert distributed.unwrap(model) is model


def test_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="op is 'mean'; write one of sum, max, min"):
        distributed.all_reduce(torch.zeros(1), "mean")


@pytest.mark.parametrize("address", ["localhost:9999", "tcp://localhost", "http://localhost:80", "file://"])
def test_address_of_another_kind_is_refused(address):
    with pytest.raises(ValueError, match="write tcp://HOST:PORT, or file:///PATH"):
        distributed.init("gloo", address, world_size=2, rank=0)


def test_port_in_use_is_said():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot serve tcp://127.0.0.1:{port}.*another job.*--init_method"):
            distributed.host_store(f"tcp://127.0.0.1:{port}")


def test_absent_main_process_is_said():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(OSError, match=f"cannot reach {address}.*shard id 0"):
        distributed.init("gloo", address, world_size=2, rank=1, timeout_seconds=1)


def test_port_zero_takes_a_free_port_and_serves_it_again():
    address = distributed.host_store("tcp://127.0.0.1:0")
    assert not address.endswith(":0")
    assert distributed.host_store(address) == address
