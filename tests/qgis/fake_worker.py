"""A worker that misbehaves in the way it is told: ``fake_worker.py MODE [options of the real one]``."""

import json
import os
import signal
import subprocess
import sys
import time

READY = {"event": "ready", "protocol": 1, "version": "0.1.0", "pid": os.getpid()}
MEGABYTE = 1 << 20


def say(event):
    write(json.dumps(event).encode())


def write(line):
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def requests():
    for line in sys.stdin:
        request = json.loads(line)
        if "cancel" not in request:
            yield request


def result(request, **values):
    say({"event": "result", "id": request["id"], "result": values})


def fail(request, kind, message):
    say({"event": "error", "id": request["id"], "kind": kind, "message": message, "details": ""})


def hang():
    """Deaf to everything but what cannot be refused."""
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    while True:
        time.sleep(60)


def leave_a_half_file(request):
    """What a writer has beside its target while it writes, and something of somebody else's."""
    folder, name = os.path.split(request["parameters"]["output"])
    stem, suffix = os.path.splitext(name)
    for pid in (os.getpid(), os.getpid() + 1):
        with open(os.path.join(folder, f".{stem}.{pid}-abc.part{suffix}"), "w") as file:
            file.write("half")


# Modes that go wrong before the worker is ready.


def exit_at_once():
    sys.exit("ImportError: libfoo.so.1: cannot open shared object file")


def no_toolkit():
    sys.exit("/usr/bin/python: No module named hsi_toolkit")


def killed_at_once():
    os.kill(os.getpid(), signal.SIGKILL)


def never_ready():
    hang()


def garbage_before_ready():
    write(b"Welcome to Python!\n\xff\xfe{}[]\n42\nnull")
    good()


def other_protocol():
    say({**READY, "protocol": 2, "version": "9.9.9"})
    hang()


def other_version():
    say({**READY, "version": "0.0.9"})
    for request in requests():
        fail(request, "user", "The task 'info' has no parameter 'new'.")


# Modes that go wrong with a job.


def good():
    say(READY)
    for request in requests():
        result(request, **request["parameters"], pid=os.getpid())


def surroundings():
    say(READY)
    for request in requests():
        result(request, environment=dict(os.environ), arguments=sys.argv[2:], pid=os.getpid())


def garbage():
    say(READY)
    for request in requests():
        id = request["id"]
        for line in (
            b"not json",
            b"\xff\xfe\x00\x80",
            b"",
            b"[" * 100_000,
            b'["a list"]',
            b"null",
            b'"text"',
            b"{}",
            b'{"event": ["progress"]}',
            json.dumps({"event": "dance", "id": id}).encode(),
            json.dumps({"event": "result", "id": "another", "result": {}}).encode(),
            json.dumps({"event": "error", "id": "another", "kind": "user", "message": "?"}).encode(),
            json.dumps({"event": "result", "id": id, "result": "no object"}).encode(),
            json.dumps({"event": "progress", "id": id, "fraction": "half", "message": 3}).encode(),
            b'{"event": "progress", "id": "%s", "fraction": NaN, "message": "\\ud800"}' % id.encode(),
            json.dumps({"event": "progress", "id": id, "fraction": 1e300}).encode(),
            json.dumps({"event": "progress", "id": id}).encode(),
            json.dumps({"event": "log", "id": id}).encode(),
        ):
            write(line)
        result(request, fine=True)


def long_lines():
    say(READY)
    for request in requests():
        write(b"x" * MEGABYTE)
        write(b'{"event": "result", "id": "' + b"y" * (20 * MEGABYTE))
        result(request, text="z" * MEGABYTE)


def half_a_line():
    say(READY)
    for _ in requests():
        sys.stdout.write('{"event": "resu')
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def killed():
    say(READY)
    for request in requests():
        leave_a_half_file(request)
        sys.stderr.write("x" * MEGABYTE + "\nthe last words\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def segmentation_fault():
    say(READY)
    for _ in requests():
        os.kill(os.getpid(), signal.SIGSEGV)


def retires():
    """Does one job and then ends of its own accord, just when the next one comes."""
    say(READY)
    for number, request in enumerate(requests()):
        if number:
            sys.exit(0)
        result(request, pid=os.getpid())


def exits_without_answer():
    say(READY)
    for _ in requests():
        sys.exit(0)


def disk_full():
    say(READY)
    for request in requests():
        fail(request, "user", "Writing map.tif failed: No space left on device. Check the free space.")


def gpu_memory():
    say(READY)
    for request in requests():
        fail(request, "memory", "The GPU has not enough memory. Choose the device cpu.")


def defect():
    say(READY)
    for request in requests():
        say(
            {
                "event": "error",
                "id": request["id"],
                "kind": "internal",
                "message": "This is a defect (KeyError: 'x').",
                "details": "Traceback: in the worker",
            }
        )


def refuses_the_request():
    say(READY)
    for _ in requests():
        say({"event": "error", "id": None, "kind": "internal", "message": "This is no request."})


def deaf():
    """Works on with a child, whatever it is told."""
    os.setsid()
    say(READY)
    for request in requests():
        leave_a_half_file(request)
        child = subprocess.Popen(["sleep", "60"])
        say({"event": "log", "id": request["id"], "message": str(child.pid)})
        hang()


def silent():
    """Does a job without a word in between; the job says for how long."""
    say(READY)
    for request in requests():
        time.sleep(request["parameters"].get("seconds", 0))
        result(request, **request["parameters"], pid=os.getpid())


def chatty():
    say(READY)
    for request in requests():
        for step in range(5):
            say({"event": "progress", "id": request["id"], "fraction": step / 4, "message": f"Step {step}"})
        say({"event": "log", "id": request["id"], "message": "38 blocks"})
        result(request)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
