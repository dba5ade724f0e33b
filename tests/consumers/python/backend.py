"""A backend in a process of its own: serves each connection that it is offered with one line.

Arguments: library, socket path, "accept" or "refuse". Writes a line once it listens, and ends with its standard input.
"""
import os
import selectors
import socket
import sys

import rp_handoff

library_path, socket_path, answer = sys.argv[1:]


def serve(offer):
    with offer:
        if answer == "refuse":
            offer.refuse("not today")
            return
        name = offer.info().service_name.decode()
        with socket.socket(fileno=offer.accept()) as connection:
            connection.sendall(f"{name} from {os.getpid()}\n".encode())


def take(backend):
    try:
        serve(backend.next_offer(0))
    except rp_handoff.HandoffError as error:
        if error.status != -9:  # timed out: nothing was there
            raise


with rp_handoff.Library(library_path).backend() as backend, selectors.DefaultSelector() as selector:
    backend.listen(socket_path)
    selector.register(backend, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    print("listening", flush=True)
    while not any(key.fileobj is sys.stdin for key, _ in selector.select()):
        take(backend)
