"""What worker processes are told to do in tests: imports nothing heavy, so that one starts in a moment."""

import ctypes
import os
import signal
import time


def main(desk):
    """Do what the messages say."""
    hoard = []
    for task in desk.tasks():
        match task.decode().split():
            case ["who"]:
                desk.answer(str(os.getpid()).encode())
            case ["signal", number]:
                os.kill(os.getpid(), int(number))
            case ["exit", code]:
                os._exit(int(code))
            case ["torn"]:  # half of an answer is in the pipe when it is killed
                os.write(desk._connection.fileno(), b"\x00\x00\x10\x00half of an answer")
                os.kill(os.getpid(), signal.SIGKILL)
            case ["tell", word]:
                desk.tell(word.encode())
                desk.answer(b"flagged" if desk.flagged() else b"told")
            case ["deaf"]:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                time.sleep(1000)
            case ["hang"]:  # in native code that lets no thread of Python's run, and deaf
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                ctypes.PyDLL(None).sleep(1000)
            case ["grow", megabytes, seconds]:
                hoard.append(b"x" * (int(megabytes) * 2**20))
                time.sleep(float(seconds))
                desk.answer(b"grown")


def dies_at_once(desk):
    os._exit(4)
