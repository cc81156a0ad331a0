"""One connection of an HTTP/2 server: a request is answered with its kind, path and size."""

from __future__ import annotations

import socket
import ssl

import h2.config
import h2.connection
import h2.events


def serve_h2(connection: socket.socket | ssl.SSLSocket) -> None:
    """Answer every request of a connection until the client goes."""
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    server.initiate_connection()
    connection.sendall(server.data_to_send())
    sizes: dict[int, int] = {}
    heads: dict[int, dict[bytes, bytes]] = {}
    while data := connection.recv(65536):
        for event in server.receive_data(data):
            match event:
                case h2.events.RequestReceived(stream_id=number, headers=headers):
                    assert number is not None
                    assert headers is not None
                    heads[number] = {bytes(name): bytes(value) for name, value in headers}
                    sizes[number] = 0
                case h2.events.DataReceived(stream_id=number, data=part):
                    assert number is not None
                    assert part is not None
                    sizes[number] += len(part)
                    server.acknowledge_received_data(event.flow_controlled_length or 0, number)
                case h2.events.StreamEnded(stream_id=number):
                    assert number is not None
                    head = heads[number]
                    server.send_headers(number, [(":status", "200"), ("x-version", "2")])
                    body = b"%b %b %d" % (head[b":method"], head[b":path"], sizes[number])
                    server.send_data(number, body, end_stream=True)
                case _:
                    pass
        connection.sendall(server.data_to_send())
