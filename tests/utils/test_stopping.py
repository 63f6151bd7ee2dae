"""Signals that ask a run to stop, and processes that leave them to their parent."""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from slowfast.utils import stopping
from slowfast.utils.stopping import Stopped


def send(signum: int) -> None:
    os.kill(os.getpid(), signum)


@pytest.mark.parametrize("signum", stopping.SIGNALS)
def test_a_signal_asks_and_is_forgotten_afterwards(signum):
    before = signal.getsignal(signum)
    with stopping.heeded():
        assert stopping.asked() == 0
        send(signum)
        assert stopping.asked() == signum
    assert stopping.asked() == 0 and signal.getsignal(signum) is before


def test_the_first_signal_counts_and_only_a_second_interrupt_leaves():
    with stopping.heeded():
        for signum in (signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            send(signum)
        assert stopping.asked() == signal.SIGUSR1
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_an_inner_block_forgets_nothing():
    with stopping.heeded():
        with stopping.heeded():
            send(signal.SIGTERM)
        assert stopping.asked() == signal.SIGTERM


def test_other_threads_change_no_handler():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def look() -> None:
        with stopping.heeded():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)]
)
def test_the_exit_status_tells_launchers_whether_to_go_on(signum, status):
    stopped = Stopped(signum, "after step 4 of 5 of epoch 1")
    assert stopped.status == status
    assert (
        str(stopped)
        == f"stopped by {signum.name} after step 4 of 5 of epoch 1; give the same command to go on"
    )


def test_a_command_without_loops_is_interrupted_once():
    before = [signal.getsignal(number) for number in stopping.SIGNALS]
    with stopping.interrupting():
        with pytest.raises(stopping.Interrupted) as caught:
            send(signal.SIGTERM)
        send(signal.SIGTERM)  # in the middle of what it does on its way out
        send(signal.SIGUSR1)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
    assert caught.value.signum == signal.SIGTERM
    assert [signal.getsignal(number) for number in stopping.SIGNALS] == before


@pytest.mark.parametrize(
    ("interrupt", "goes_on", "status"),
    [
        (KeyboardInterrupt(), True, 130),
        (KeyboardInterrupt(), False, 130),
        (stopping.Interrupted(signal.SIGTERM), True, 75),
        (stopping.Interrupted(signal.SIGTERM), False, 143),
        (stopping.Interrupted(signal.SIGUSR1), True, 75),
    ],
)
def test_the_exit_status_of_an_interrupted_command(interrupt, goes_on, status):
    assert stopping.status_of(interrupt, goes_on) == status


def helper(pipe) -> None:
    """Says when it is ready, then answers whatever it gets."""
    stopping.leave_to_parent()
    pipe.send("ready")
    while True:
        pipe.send(pipe.recv())


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="this system does not tell who sent a signal")
@pytest.mark.parametrize("start_method", ["fork", "forkserver"])
def test_a_helper_ends_by_a_signal_of_its_parent_alone(start_method):
    context = multiprocessing.get_context(start_method)
    ours, theirs = context.Pipe()
    process = context.Process(target=helper, args=(theirs,), daemon=True)
    process.start()
    assert ours.recv() == "ready"
    stranger = context.Process(target=send_all, args=(process.pid,))
    stranger.start()
    stranger.join()
    await_no_pending_signal(process.pid)
    ours.send("still here")
    assert ours.poll(60) and ours.recv() == "still here"
    process.terminate()
    process.join(60)
    assert process.exitcode == 0


def late_helper(pipe) -> None:
    pipe.recv()
    helper(pipe)


def leave_a_helper(start_method: str, pipe) -> None:
    multiprocessing.get_context(start_method).Process(target=late_helper, args=(pipe,)).start()
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(not hasattr(signal, "sigtimedwait"), reason="helpers do not watch their parent here")
@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_a_helper_ends_whose_parent_has_gone_before_it_began(start_method, monkeypatch):
    monkeypatch.setattr(stopping, "LOOK_SECONDS", 0.01)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    parent = context.Process(target=leave_a_helper, args=(start_method, theirs))
    parent.start()
    theirs.close()
    parent.join()
    assert parent.exitcode == -signal.SIGKILL
    ours.send("begin")
    with pytest.raises((EOFError, ConnectionResetError)):  # the helper held the other end
        while ours.poll(60):
            ours.recv()


def await_no_pending_signal(pid: int) -> None:
    """Two of a kind that wait together reach a process as one: wait until it has taken those sent so far."""
    for _ in range(6000):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        if all(int(line.split()[1], 16) == 0 for line in lines if line.startswith(("SigPnd", "ShdPnd"))):
            return
        time.sleep(0.01)
    raise TimeoutError("the process does not take its signals")


def send_all(pid: int) -> None:
    for signum in stopping.SIGNALS:
        os.kill(pid, signum)
