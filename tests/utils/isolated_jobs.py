"""What the processes started by test_isolation.py do; they import this file by its name."""

import os
import signal
import threading

_seen = []


def do(job: str):
    """What the job says, in the words of the tests; any other job is its own value."""
    if job == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if job == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "exit":
        os._exit(3)
    if job == "hang":
        threading.Event().wait()
    if job == "memory":
        return len(bytearray(300 * 2**20))
    if job == "large":
        return "x" * 2**21
    if job == "error":
        raise KeyError("two\nlines")
    if job == "process":
        return os.getpid()
    return job


def crash_if_used(job: str):
    """Crash in a process that has done another job before."""
    _seen.append(job)
    if job == "sensitive" and len(_seen) > 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    return job


def write_garbage(job: str):
    """Answer behind the back of the process, in what is no JSON, as damaged memory might."""
    if job == "garbage":
        import gc
        from multiprocessing.connection import Connection

        (pipe,) = (found for found in gc.get_objects() if isinstance(found, Connection))
        pipe.send_bytes(b"\x80\x04garbage")
    return job
