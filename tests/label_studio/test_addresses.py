"""An address with the wrong one of http and https is named in words."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from connectors.base import Rejected, Unreachable
from connectors.label_studio.client import Client

NGINX = (
    b"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>"
)


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(400)
        self.send_header("Content-Length", str(len(NGINX)))
        self.end_headers()
        self.wfile.write(NGINX)

    def log_message(self, *args):
        pass


@pytest.fixture
def plain():
    """A server that speaks plain HTTP, and answers as nginx does at a port with TLS."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture
def encrypted(tmp_path):
    """A server that speaks TLS only."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on the PATH")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    files = ["-keyout", str(key), "-out", str(certificate), "-days", "2"]
    subprocess.run([*made, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.handle_error = lambda *args: None
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    yield server
    server.shutdown()


def asked(url):
    Client(url, "a" * 40, attempts=1).get("/api/version")


def test_https_to_a_server_of_http(plain):
    address = f"127.0.0.1:{plain.server_port}"
    with pytest.raises(Unreachable, match="speaks http, not https") as caught:
        asked(f"https://{address}")
    assert f"to http://{address}" in str(caught.value)


def test_http_to_a_server_of_https(encrypted):
    address = f"127.0.0.1:{encrypted.server_port}"
    with pytest.raises(Unreachable, match="if it speaks https") as caught:
        asked(f"http://{address}")
    assert f"to https://{address}" in str(caught.value)


def test_http_to_a_port_of_nginx_with_tls(plain):
    address = f"127.0.0.1:{plain.server_port}"
    with pytest.raises(Rejected, match="speaks https, not http") as caught:
        asked(f"http://{address}")
    assert f"to https://{address}" in str(caught.value)
