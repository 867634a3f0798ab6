"""An S3-compatible server on this host, which counts the bytes of the objects that it sends and receives."""

import threading
from dataclasses import dataclass

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

KEYS = {"access_key": "key", "secret_key": "secret"}
BUCKET = "lake"


@dataclass
class Traffic:
    """What went over the wire: bytes of object contents, and the requests as (method, path with query)."""

    sent: int = 0
    requests: list = None

    def reset(self):
        self.sent, self.requests = 0, []


class S3Server:
    """moto's server in a thread of this process."""

    def __init__(self):
        self.traffic = Traffic()
        self.traffic.reset()
        self.refuse = None  # a function of (method, path with query): whether the request gets an error
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True)
        self.endpoint = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _serve(self, environ, start_response):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        request = (method, f"{path}?{environ.get('QUERY_STRING', '')}")
        self.traffic.requests.append(request)
        if self.refuse is not None and self.refuse(*request):
            start_response("403 Forbidden", [("Content-Length", "0")])
            return [b""]

        def respond(status, headers, info=None):
            if method == "GET" and path.count("/") >= 2 and path.strip("/") != BUCKET and status.startswith("2"):
                self.traffic.sent += int(dict(headers).get("Content-Length", 0))
            return start_response(status, headers, info)

        return self._app(environ, respond)

    def close(self):
        self._server.shutdown()

    def arrow(self):
        from pyarrow.fs import S3FileSystem

        return S3FileSystem(
            **KEYS, endpoint_override=self.endpoint, scheme="http", region="us-east-1", allow_bucket_creation=True
        )

    @property
    def storage_options(self):
        return {
            "key": KEYS["access_key"],
            "secret": KEYS["secret_key"],
            "endpoint_url": f"http://{self.endpoint}",
            "client_kwargs": {"region_name": "us-east-1"},
        }

    def objects(self):
        """The keys below the bucket and their sizes."""
        from pyarrow.fs import FileSelector

        found = self.arrow().get_file_info(FileSelector(BUCKET, recursive=True))
        return {info.path.removeprefix(f"{BUCKET}/"): info.size for info in found if info.is_file}

    def uploads(self):
        """The multipart uploads that nobody completed or gave up."""
        import s3fs

        client = s3fs.S3FileSystem(**self.storage_options, skip_instance_cache=True)
        return client.call_s3("list_multipart_uploads", Bucket=BUCKET).get("Uploads", [])
