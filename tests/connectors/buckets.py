"""A real S3-compatible server (moto's) on loopback, that can be told to fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

NAME = "photos"


@dataclass
class S3:
    """The server: its address, a client, and what is to go wrong.

    Attributes:
        fault: asked for each GET of an object: None, or "503", "cut" or "slow".
        gets: objects that were asked for.
        heads: objects whose size was asked for.
    """

    url: str
    client: Any
    fault: Callable[[str], str | None] = lambda path: None
    gets: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=NAME, Key=key, Body=data)


@contextmanager
def s3_server(monkeypatch: Any) -> Iterator[S3]:
    """Its credentials stand in the environment, as s3fs and boto3 find them."""
    import boto3
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    real = DomainDispatcherApplication(create_backend_app)
    holder: dict[str, S3] = {}

    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        path, s3 = environ["PATH_INFO"], holder.get("s3")
        if s3 is not None and environ["REQUEST_METHOD"] == "HEAD":
            s3.heads.append(path)
        whole = environ["REQUEST_METHOD"] == "GET" and path.count("/") > 1
        if s3 is not None and whole and len(path.split("/", 2)[2]):
            s3.gets.append(path)
            fault = s3.fault(path)
            if fault == "503":
                start("503 Slow Down", [("Content-Type", "application/xml")])
                return [b"<Error><Code>SlowDown</Code><Message>later</Message></Error>"]
            if fault == "cut":
                start("200 OK", [("Content-Length", "5000"), ("Content-Type", "image/png")])
                return [b"half"]
            if fault == "slow":
                time.sleep(0.2)
        return real(environ, start)

    class Quiet(WSGIRequestHandler):
        disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement

        def log(self, *args: Any) -> None:
            """Nothing."""

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
    thread.start()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}"),
        ("AWS_ACCESS_KEY_ID", "testing-key"),
        ("AWS_SECRET_ACCESS_KEY", "testing-secret"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket=NAME)
    holder["s3"] = S3(f"http://127.0.0.1:{server.server_port}", client)
    try:
        yield holder["s3"]
    finally:
        for bucket in client.list_buckets()["Buckets"]:
            for each in client.list_objects_v2(Bucket=bucket["Name"]).get("Contents", []):
                client.delete_object(Bucket=bucket["Name"], Key=each["Key"])
            client.delete_bucket(Bucket=bucket["Name"])
        server.shutdown()
        thread.join()
