"""A cable between two interfaces of this namespace that delays, loses, duplicates and reorders frames: what netem does, for kernels
without it. Runs until it is ended.

    python3 impaired_link.py FIRST SECOND --delay-ms 5 --loss 0.1 --duplicate 0.1 --reorder 0.25 --seed 1

Impairments are those of frames from SECOND to FIRST; the other way all go at once and unharmed. A reordered frame is delayed once more
by up to as long as the others are, and 2 ms.
"""

import argparse
import heapq
import itertools
import random
import select
import socket
import time

ETH_P_ALL = 0x0003
SOL_PACKET = 263
PACKET_IGNORE_OUTGOING = 23
SO_RCVBUFFORCE = 33
REORDERED_S = 0.002


def opened(interface):
    """A raw socket on an interface, for what arrives there."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
    made.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    made.bind((interface, ETH_P_ALL))
    made.setblocking(False)
    return made


def received(source):
    """All frames that wait."""
    try:
        while True:
            yield source.recv(1 << 16)
    except BlockingIOError:
        return


def run(arguments):
    """Carries frames without end."""
    dice = random.Random(arguments.seed)
    first, second = opened(arguments.first), opened(arguments.second)
    waiting, order = [], itertools.count()
    print("ready", flush=True)
    while True:
        wait_s = max(waiting[0][0] - time.monotonic(), 0) if waiting else None
        select.select([first, second], [], [], wait_s)
        for frame in received(first):
            second.send(frame)
        now = time.monotonic()
        for frame in received(second):
            if dice.random() < arguments.loss:
                continue
            for _ in range(1 + (dice.random() < arguments.duplicate)):
                due = now + arguments.delay_ms / 1e3
                if dice.random() < arguments.reorder:
                    due += dice.random() * (arguments.delay_ms / 1e3 + REORDERED_S)
                heapq.heappush(waiting, (due, next(order), frame))
        while waiting and waiting[0][0] <= time.monotonic():
            first.send(heapq.heappop(waiting)[2])


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("--delay-ms", type=float, default=0.0)
    for impairment in ("loss", "duplicate", "reorder"):
        parser.add_argument(f"--{impairment}", type=float, default=0.0, metavar="PROBABILITY")
    parser.add_argument("--seed", type=int, default=0)
    run(parser.parse_args())


if __name__ == "__main__":
    main()
