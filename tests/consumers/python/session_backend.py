"""The backend of a session in a process of its own: does with each offer what its metadata says.

Arguments: library, descriptor of the session's connection. Ends with the session.
"""
import os
import selectors
import socket
import sys

import rp_handoff
import rp_handoff_session

library_path, connection_fd = sys.argv[1:]
held = []


def serve(offer, order, early):
    try:
        fd = offer.accept()
    except rp_handoff.HandoffError as error:
        if error.status != -51:  # revoked: the connection is the broker's again
            raise
        return
    with socket.socket(fileno=fd) as connection:
        connection.sendall(f"{order} {early} by {os.getpid()}\n".encode())


def take(offer):
    info = offer.info()
    order = info.part("metadata").decode()
    if order == "hold":
        held.append(offer)
        return
    with offer:
        if order == "refuse":
            offer.refuse("not today")
        else:
            serve(offer, order, info.part("early").decode())


library = rp_handoff.Library(library_path)
with rp_handoff_session.create_backend(library, connection_fd=int(connection_fd)) as session, \
        selectors.DefaultSelector() as selector:
    selector.register(session, selectors.EVENT_READ)
    is_open = True
    while is_open:
        selector.select()
        session.process()
        for event in session.events():
            if event.kind == rp_handoff_session.EVENT_OFFER:
                take(event.offer)
            if event.kind == rp_handoff_session.EVENT_CLOSED:
                is_open = False
                if event.text:
                    print(f"session: {event.text}", file=sys.stderr)
    for offer in held:
        offer.close()
