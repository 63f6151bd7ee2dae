"""The calls in one process, and what is refused. Several processes: test_launch.py."""

import signal
import socket

import pytest
import torch
from torch import distributed as dist

from slowfast.utils import distributed, stopping


def test_every_call_works_alone():
    tensor = torch.tensor([1.0, 2.0])
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
    assert distributed.all_reduce(tensor) is tensor
    assert tensor.tolist() == [1.0, 2.0]
    assert distributed.sum_in_rank_order(tensor).tolist() == [1.0, 2.0]
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


def test_a_second_interrupt_ends_the_wait_for_the_main_process(monkeypatch):
    tries = []

    def nobody(host, port, world_size, is_master, timeout, **more):
        tries.append(timeout.total_seconds())
        if len(tries) > 1:
            signal.raise_signal(signal.SIGINT)
        raise dist.DistNetworkError("timed out")

    monkeypatch.setattr(dist, "TCPStore", nobody)
    with stopping.heeded(), pytest.raises(KeyboardInterrupt):
        distributed.init("gloo", "tcp://localhost:1", world_size=2, rank=1)
    assert tries == [distributed.LOOK_SECONDS] * 3  # of half an hour


def test_port_zero_takes_a_free_port_and_serves_it_again():
    address = distributed.host_store("tcp://127.0.0.1:0")
    assert not address.endswith(":0")
    assert distributed.host_store(address) == address


def test_missing_processes_are_named(caplog):
    address = distributed.host_store("tcp://127.0.0.1:0")
    dist.PrefixStore("slowfast/a round", distributed._stores[address]).set("host/2", "node7")
    said = r"2 of 4 processes have not come within 0.3 s: 1, 3 .*; 2 on node7\. Look at"
    with pytest.raises(OSError, match=said):
        distributed.init("gloo", address, world_size=4, rank=0, timeout_seconds=0.3, round_name="a round")
    assert "waiting for process(es) 1, 3 of 4" in caplog.text
    assert distributed.world_size() == 1


def test_missing_processes_are_named_where_a_file_is_the_meeting(tmp_path):
    with pytest.raises(OSError, match="1 of 2 processes have not come within 0.3 s: 0 "):
        distributed.init("gloo", f"file://{tmp_path}/meet", world_size=2, rank=1, timeout_seconds=0.3)


def test_the_first_free_port_is_served_and_found_again(caplog):
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        first, second = (f"tcp://127.0.0.1:{end.getsockname()[1]}" for end in (taken, probe))
        probe.close()
        assert distributed.host_first([first, second], "run 1") == second
        assert f"the port of {first} is taken" in caplog.text
    # The one that it serves, though the first is free now.
    assert distributed.host_first([first, second], "run 1") == second
    assert distributed.find_host([first, second], "run 1") == second


def test_all_ports_taken_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OSError, match=f"cannot serve {address}"):
            distributed.host_first([address, address], "run 2")


def test_neither_silence_nor_another_run_is_taken_for_the_meeting(monkeypatch):
    monkeypatch.setattr(distributed, "LOOK_SECONDS", 0.3)
    other = distributed.host_store("tcp://127.0.0.1:0")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        addresses = [f"tcp://127.0.0.1:{silent.getsockname()[1]}", other.replace("127.0.0.1", "localhost")]
        with pytest.raises(OSError, match=f"process 0 is not found at {', '.join(addresses)} after 0.1 s"):
            distributed.find_host(addresses, "run 3", timeout_seconds=0.1)


def test_only_errors_of_connections_tell_of_a_lost_process(monkeypatch):
    closed = RuntimeError("[/pair.cc:534] Connection closed by peer [127.0.0.1]:1234\nmore")
    assert distributed.lost_contact(closed) is None  # there is no other process
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    told = str(distributed.lost_contact(closed))
    assert told.startswith("process 0 of 2 has lost another process") and "more" not in told
    assert distributed.lost_contact(RuntimeError("shapes do not fit")) is None
    assert distributed.lost_contact(ConnectionResetError("Connection reset by peer")) is None
