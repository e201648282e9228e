"""A script for tests that does what MODE says, as scripts of users do: stands beside helper_of_tests.py."""

import os
import signal
import subprocess
import sys
import time

from helper_of_tests import score

MODE = os.environ.get("MODE", "good")
SEED = int(os.environ.get("SEED", "0"))


def hang():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("began", flush=True)
    time.sleep(600)


def crash():
    print("about to fail", file=sys.stderr)
    raise ValueError("bad shape \x1b[31mred")


def eat():
    held = []
    while True:
        held.append(bytearray(os.urandom(1) * 30_000_000))
        time.sleep(0.02)


def leave():
    child = subprocess.Popen(  # detached, and again detached
        [sys.executable, "-S", "-c", "import os, time; os.fork(); time.sleep(600)"], start_new_session=True
    )
    print("child", child.pid)
    print(f"val_bpb:{score(SEED)}")


def chunks():
    for _ in range(2000):
        sys.stdout.write("." * 50)
    sys.stdout.write("\rstep 3\rstep 4 \u2713 ")
    sys.stdout.write("val_bpb:1.25")  # without an end of line


def twice():
    print("val_bpb:9.5")
    print("val_bpb:1.5")


def swallow():
    try:
        crash()
    except ValueError:
        import traceback

        traceback.print_exc()


def write():
    os.makedirs("logs", exist_ok=True)
    with open("logs/run.txt", "w") as file:
        file.write("mine\n")
    with open("table.txt") as file:
        print(f"val_bpb:{float(file.read())}")


def spoil():
    with open("data/large.bin", "r+b") as file:
        file.write(b"spoilt")
    print("val_bpb:1.0")


{
    "spoil": spoil,
    "good": lambda: print(f"val_bpb:{score(SEED)}"),
    "hang": hang,
    "crash": crash,
    "nan": lambda: print("val_bpb:nan"),
    "twice": twice,
    "eat": eat,
    "leave": leave,
    "chunks": chunks,
    "silent": lambda: None,
    "swallow": swallow,
    "shout": lambda: [print("x" * 1000) for _ in range(5000)],
    "write": write,
    "big": lambda: (open("model.bin", "wb").write(bytes(5000)), print("val_bpb:1.0")),
    "slow": lambda: (print("step:1/9 train_time:9000ms", flush=True), time.sleep(600)),
}[MODE]()
