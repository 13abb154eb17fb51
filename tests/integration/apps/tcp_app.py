"""TCP connections under command, one line of standard input a step.

usage: tcp_app.py server PORT           accepts and reads for ever
       tcp_app.py client PORT COUNT     connects COUNT times, then obeys: send BYTES | refused COUNT PORT | close
"""

import socket
import sys
import threading


def drain(connection):
    while connection.recv(1 << 16):
        pass
    connection.close()


def server(port):
    listener = socket.create_server(("127.0.0.1", port))
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=drain, args=(connection,), daemon=True).start()


def client(port, count):
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    print("connected", flush=True)
    for line in sys.stdin:
        words = line.split()
        if words[0] == "send":
            connections[0].sendall(bytes(int(words[1])))
        elif words[0] == "refused":
            for _ in range(int(words[1])):
                try:
                    socket.create_connection(("127.0.0.1", int(words[2])))
                except ConnectionRefusedError:
                    pass
        elif words[0] == "close":
            for connection in connections:
                connection.close()
        print("done", flush=True)


if sys.argv[1] == "server":
    server(int(sys.argv[2]))
else:
    client(int(sys.argv[2]), int(sys.argv[3]))
